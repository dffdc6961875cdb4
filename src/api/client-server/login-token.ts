import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { secretText } from '#engine/user/random-text.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'

const lifetimeMs = 120_000

export const generateLoginToken = op({
  id: 'generateLoginToken',
  method: 'POST',
  path: '/_matrix/client/v1/login/get_token',
  auth: 'owner',
  admits: ['suspended'],
  limit: 'login',
  body: open({ auth: t.Optional(open({})) }),
  response: open({ login_token: t.String(), expires_in_ms: t.Integer() }),
  // Spec: whoever asks is always asked again.
  uia: {},

  async run({ who: { userId } }, ctx) {
    const token = secretText('lwl')
    const expiresAt = ctx.clock() + lifetimeMs
    await briefTokens.addLogin(ctx.sql, { tokenHash: hashToken(token), userId, expiresAt })
    return { login_token: token, expires_in_ms: lifetimeMs }
  },
})
