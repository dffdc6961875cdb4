import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { secretText } from '#engine/user/random-text.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'

const lifetimeSeconds = 3600

export const requestOpenIdToken = op({
  id: 'requestOpenIdToken',
  method: 'POST',
  path: '/_matrix/client/v3/user/:userId/openid/request_token',
  also: ['/_matrix/client/r0/user/:userId/openid/request_token'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: open({ userId: t.String() }),
  body: Content,
  response: open({ access_token: t.String(), token_type: t.String(), expires_in: t.Integer() }),

  async run({ who, params: { userId } }, ctx) {
    if (userId !== who.userId) throw forbidden('Only the user can prove who they are')
    const token = secretText('lwo')
    const expiresAt = ctx.clock() + lifetimeSeconds * 1000
    await briefTokens.addOpenId(ctx.sql, { tokenHash: hashToken(token), userId, expiresAt })
    return {
      access_token: token,
      token_type: 'Bearer',
      matrix_server_name: ctx.serverName,
      expires_in: lifetimeSeconds,
    }
  },
})
