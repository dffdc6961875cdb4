import { Type as t } from '@sinclair/typebox'
import {
  EmailRequest,
  PhoneRequest,
  refusePhone,
  requestToken,
} from '#api/client-server/account/request-token.ts'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { requireStrong } from '#engine/user/accounts.ts'
import * as threepids from '#store/user/threepids.ts'
import * as users from '#store/user/users.ts'

export const changePassword = op({
  id: 'changePassword',
  method: 'POST',
  path: '/_matrix/client/v3/account/password',
  also: ['/_matrix/client/r0/account/password'],
  auth: 'ownerOptional',
  admits: ['suspended'],
  limit: 'login',
  maxBytes: 64 * 1024,
  body: open({
    new_password: t.String(),
    logout_devices: t.Optional(t.Boolean()),
    auth: t.Optional(open({})),
  }),
  uia: {
    purpose: 'password',
    flows({ who, body }) {
      requireStrong(body.new_password)
      // Whoever is not logged in has forgotten the password.
      return who ? [['m.login.password']] : [['m.login.email.identity']]
    },
  },

  async run({ who, body, proof }, ctx) {
    const userId =
      who?.userId ?? (proof.email && (await threepids.owner(ctx.sql, 'email', proof.email.address)))
    const account = userId === undefined ? undefined : await users.get(ctx.sql, userId)
    // The address may have been given up since the letter was sent.
    if (userId === undefined || !account || account.deactivated)
      throw forbidden('The address is that of no account')
    await ctx.accounts.setPassword(userId, body.new_password, {
      logOut: body.logout_devices ?? true,
      ...(who && { except: who.deviceId }),
    })
    return {}
  },
})

export const requestTokenToResetPasswordEmail = op({
  id: 'requestTokenToResetPasswordEmail',
  method: 'POST',
  path: '/_matrix/client/v3/account/password/email/requestToken',
  also: ['/_matrix/client/r0/account/password/email/requestToken'],
  auth: 'none',
  limit: 'registration',
  body: EmailRequest,
  response: open({ sid: t.String() }),
  run: ({ body }, ctx) => requestToken(ctx, 'password', body),
})

export const requestTokenToResetPasswordMSISDN = op({
  id: 'requestTokenToResetPasswordMSISDN',
  method: 'POST',
  path: '/_matrix/client/v3/account/password/msisdn/requestToken',
  also: ['/_matrix/client/r0/account/password/msisdn/requestToken'],
  auth: 'none',
  limit: 'registration',
  body: PhoneRequest,
  run: refusePhone,
})
