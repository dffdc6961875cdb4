import { createHmac, timingSafeEqual } from 'node:crypto'
import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { MatrixError, forbidden } from '#core/error.ts'
import { UserId, open } from '#core/schema.ts'
import type { Context } from '#src/context.ts'

/**
 * Registration by shared secret, in the form that known tools speak: a nonce is asked for, and comes
 * back in a hash over what is wanted.
 */
const path = '/_synapse/admin/v1/register'

export const getRegistrationNonce = op({
  id: 'getRegistrationNonce',
  method: 'GET',
  path,
  auth: 'none',
  limit: 'lookup',
  response: open({ nonce: t.String() }),

  run(_, ctx) {
    requireSecret(ctx)
    return { nonce: ctx.accounts.nonces.make() }
  },
})

export const registerBySecret = op({
  id: 'registerBySecret',
  method: 'POST',
  path,
  auth: 'none',
  limit: 'lookup',
  maxBytes: 64 * 1024,
  body: open({
    nonce: t.String(),
    username: t.String(),
    password: t.String(),
    mac: t.String(),
    displayname: t.Optional(t.Union([t.String(), t.Null()])),
    admin: t.Optional(t.Boolean()),
    user_type: t.Optional(t.Union([t.String(), t.Null()])),
    inhibit_login: t.Optional(t.Boolean()),
  }),
  response: open({ user_id: UserId }),

  async run({ body }, ctx) {
    const secret = requireSecret(ctx)
    const { nonce, username, password, displayname, admin = false, user_type: userType } = body
    if (!ctx.accounts.nonces.take(nonce))
      throw new MatrixError(400, 'M_UNKNOWN', 'The nonce is unknown or too old')
    // The parts are told from each other by NUL, which so may be in none of them.
    if (`${username}${password}${userType ?? ''}`.includes('\0'))
      throw new MatrixError(400, 'M_INVALID_PARAM', 'No field may hold a NUL')
    const parts = [nonce, username, password, admin ? 'admin' : 'notadmin']
    if (userType) parts.push(userType)
    const expected = createHmac('sha1', secret).update(parts.join('\0')).digest()
    const given = Buffer.from(body.mac, 'hex')
    if (given.length !== expected.length || !timingSafeEqual(given, expected))
      throw forbidden('The HMAC is wrong')

    const userId = await ctx.accounts.register({
      name: username,
      password,
      admin,
      ...(typeof displayname === 'string' && { displayName: displayname }),
    })
    const answer = { user_id: userId, home_server: ctx.serverName }
    if (body.inhibit_login) return answer
    const session = await ctx.accounts.logIn(userId, {})
    return { ...answer, access_token: session.accessToken, device_id: session.deviceId }
  },
})

function requireSecret({ config }: Context): string {
  const secret = config.registration.shared_secret
  if (secret === undefined) throw forbidden('Registration by shared secret is turned off')
  return secret
}
