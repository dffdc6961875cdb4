import { Type as t } from '@sinclair/typebox'
import {
  EmailRequest,
  PhoneRequest,
  refusePhone,
  requestToken,
} from '#api/client-server/account/request-token.ts'
import { op } from '#api/http/op.ts'
import { MatrixError } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { emailAddress } from '#engine/user/identifier.ts'
import * as threepids from '#store/user/threepids.ts'
import type { Context } from '#src/context.ts'

const path = '/_matrix/client/v3/account/3pid'
const older = '/_matrix/client/r0/account/3pid'

export const getAccount3PIDs = op({
  id: 'getAccount3PIDs',
  method: 'GET',
  path,
  also: [older],
  auth: 'owner',
  response: open({ threepids: t.Array(open({ medium: t.String(), address: t.String() })) }),

  async run({ who }, ctx) {
    return { threepids: [...(await threepids.list(ctx.sql, who.userId))] }
  },
})

const medium = t.Union([t.Literal('email'), t.Literal('msisdn')])

/** Nothing is bound at an identity server from here. Not spec: none of them is trusted with who knows whom. */
function refuseIdentityServer(): never {
  throw new MatrixError(
    403,
    'M_THREEPID_AUTH_FAILED',
    'This server works with no identity server: addresses are added, but bound nowhere',
  )
}

export const post3PIDs = op({
  id: 'post3PIDs',
  method: 'POST',
  path,
  also: [older],
  auth: 'owner',
  limit: 'change',
  body: open({ three_pid_creds: open({}) }),
  run: refuseIdentityServer,
})

export const add3PID = op({
  id: 'add3PID',
  method: 'POST',
  path: `${path}/add`,
  also: [`${older}/add`],
  auth: 'owner',
  limit: 'login',
  body: open({ client_secret: t.String(), sid: t.String(), auth: t.Optional(open({})) }),
  uia: {
    purpose: 'add',
    async flows({ body }, ctx) {
      const found = await ctx.emails.find(body.sid, body.client_secret)
      if (found?.purpose !== 'add' || found.validated_at === null) throw notValidated()
      return undefined
    },
  },

  async run({ who, body }, ctx) {
    const email = await ctx.emails.take(body.sid, body.client_secret, 'add')
    if (!email) throw notValidated()
    const threepid = { medium: 'email', ...email, addedAt: ctx.clock() }
    await ctx.users.call('addThreepid', who.userId, threepid)
    return {}
  },
})

const notValidated = () =>
  new MatrixError(400, 'M_THREEPID_AUTH_FAILED', 'The address is not validated')

export const bind3PID = op({
  id: 'bind3PID',
  method: 'POST',
  path: `${path}/bind`,
  also: [`${older}/bind`],
  auth: 'owner',
  limit: 'change',
  body: open({ client_secret: t.String(), sid: t.String(), id_server: t.String() }),
  run: refuseIdentityServer,
})

const Removal = open({ medium, address: t.String(), id_server: t.Optional(t.String()) })

export const delete3pidFromAccount = op({
  id: 'delete3pidFromAccount',
  method: 'POST',
  path: `${path}/delete`,
  also: [`${older}/delete`],
  auth: 'owner',
  limit: 'change',
  body: Removal,
  response: open({ id_server_unbind_result: t.String() }),

  async run({ who, body }, ctx) {
    await removeThreepid(ctx, who.userId, body.medium, body.address)
    return { id_server_unbind_result: 'no-support' }
  },
})

async function removeThreepid(ctx: Context, userId: string, kind: string, text: string) {
  const address = kind === 'email' ? emailAddress(text) : text
  if (address !== undefined && !address.includes('\0'))
    await ctx.users.call('removeThreepid', userId, kind, address)
}

export const unbind3pidFromAccount = op({
  id: 'unbind3pidFromAccount',
  method: 'POST',
  path: `${path}/unbind`,
  also: [`${older}/unbind`],
  auth: 'owner',
  limit: 'change',
  body: Removal,
  response: open({ id_server_unbind_result: t.String() }),
  run: () => ({ id_server_unbind_result: 'no-support' }),
})

export const requestTokenTo3PIDEmail = op({
  id: 'requestTokenTo3PIDEmail',
  method: 'POST',
  path: `${path}/email/requestToken`,
  also: [`${older}/email/requestToken`],
  auth: 'none',
  limit: 'registration',
  body: EmailRequest,
  response: open({ sid: t.String() }),
  run: ({ body }, ctx) => requestToken(ctx, 'add', body),
})

export const requestTokenTo3PIDMSISDN = op({
  id: 'requestTokenTo3PIDMSISDN',
  method: 'POST',
  path: `${path}/msisdn/requestToken`,
  also: [`${older}/msisdn/requestToken`],
  auth: 'none',
  limit: 'registration',
  body: PhoneRequest,
  run: refusePhone,
})
