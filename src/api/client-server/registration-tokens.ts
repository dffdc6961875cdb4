import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { open } from '#core/schema.ts'
import * as registrationTokens from '#store/user/registration-tokens.ts'

export const registrationTokenValidity = op({
  id: 'registrationTokenValidity',
  method: 'GET',
  path: '/_matrix/client/v1/register/m.login.registration_token/validity',
  also: [
    '/_matrix/client/unstable/org.matrix.msc3231/register/org.matrix.msc3231.login.registration_token/validity',
  ],
  auth: 'none',
  // Each call tries a token.
  limit: 'login',
  query: open({ token: t.String() }),
  response: open({ valid: t.Boolean() }),

  async run({ query: { token } }, ctx) {
    const { enabled, tokens } = ctx.config.registration
    if (!enabled || !tokens) throw forbidden('Registration by token is closed on this server')
    if (!/^[A-Za-z0-9._~-]{1,64}$/.test(token)) return { valid: false }
    const now = ctx.clock()
    const found = await registrationTokens.get(ctx.sql, token, now)
    if (!found || (found.expiry_time !== null && found.expiry_time <= now)) return { valid: false }
    const { uses_allowed: allowed, pending, completed } = found
    return { valid: allowed === null || pending + completed < allowed }
  },
})
