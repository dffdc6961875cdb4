import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { unknownToken } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'

export const exchangeOpenIdToken = op({
  id: 'exchangeOpenIdToken',
  method: 'GET',
  path: '/_matrix/federation/v1/openid/userinfo',
  auth: 'none',
  limit: 'lookup',
  query: open({ access_token: t.String() }),
  response: open({ sub: t.String() }),

  async run({ query }, ctx) {
    const hash = hashToken(query.access_token)
    const userId = await briefTokens.findOpenId(ctx.sql, hash, ctx.clock())
    if (userId === undefined) throw unknownToken()
    return { sub: userId }
  },
})
