import { Type as t } from '@sinclair/typebox'
import { writeLifetime } from '#api/client-server/account/session.ts'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'

export const refresh = op({
  id: 'refresh',
  method: 'POST',
  path: '/_matrix/client/v3/refresh',
  also: ['/_matrix/client/v1/refresh'],
  auth: 'none',
  limit: 'lookup',
  maxBytes: 64 * 1024,
  body: open({ refresh_token: t.String() }),
  response: open({ access_token: t.String() }),

  async run({ body }, ctx) {
    const session = await ctx.accounts.refresh(body.refresh_token)
    return { access_token: session.accessToken, ...writeLifetime(session) }
  },
})
