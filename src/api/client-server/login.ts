import { type Static, Type as t } from '@sinclair/typebox'
import { wellKnown } from '#api/client-server/wellknown/answer.ts'
import { requireAppservice } from '#api/http/access-token.ts'
import { op } from '#api/http/op.ts'
import { type Appservice, appserviceLogin } from '#core/appservice.ts'
import { MatrixError, forbidden, missingParam } from '#core/error.ts'
import { UserId, open } from '#core/schema.ts'
import type { Context } from '#src/context.ts'

/** A password is hashed whole, however long it is. */
const maxBytes = 64 * 1024

export const getLoginFlows = op({
  id: 'getLoginFlows',
  method: 'GET',
  path: '/_matrix/client/v3/login',
  also: ['/_matrix/client/r0/login'],
  auth: 'none',
  limit: 'lookup',

  run: (_, { appservices }) => {
    const types = ['m.login.password', ...(appservices.all.length > 0 ? [appserviceLogin] : [])]
    return { flows: types.map((type) => ({ type })) }
  },
})

const Body = open({
  type: t.String(),
  identifier: t.Optional(open({ type: t.String(), user: t.Optional(t.String()) })),
  /** Deprecated forms of an identifier. */
  user: t.Optional(t.String()),
  medium: t.Optional(t.String()),
  password: t.Optional(t.String()),
  device_id: t.Optional(t.String()),
  initial_device_display_name: t.Optional(t.String()),
})

export const login = op({
  id: 'login',
  method: 'POST',
  path: '/_matrix/client/v3/login',
  also: ['/_matrix/client/r0/login'],
  auth: 'appserviceOptional',
  limit: 'login',
  maxBytes,
  body: Body,
  response: open({ user_id: UserId, access_token: t.String(), device_id: t.String() }),

  async run({ who, body, request }, ctx) {
    const userId =
      body.type === appserviceLogin
        ? await ownedBy(ctx, requireAppservice(request, who), body)
        : await byPassword(ctx, body)
    const session = await ctx.accounts.logIn(userId, {
      ...(body.device_id !== undefined && { deviceId: body.device_id }),
      ...(body.initial_device_display_name !== undefined && {
        displayName: body.initial_device_display_name,
      }),
    })
    const discovery = wellKnown(ctx)
    return {
      user_id: userId,
      access_token: session.accessToken,
      device_id: session.deviceId,
      ...(discovery && { well_known: discovery }),
    }
  },
})

async function byPassword(ctx: Context, body: Static<typeof Body>): Promise<string> {
  if (body.type !== 'm.login.password')
    throw new MatrixError(400, 'M_UNKNOWN', `There is no login by '${body.type}' here`)
  const name = nameIn(body)
  if (body.password === undefined) throw missingParam("'password' is missing")
  const userId =
    name === undefined ? undefined : await ctx.accounts.authenticate(name, body.password)
  if (userId === undefined) throw forbidden('The user name or the password is wrong')
  return userId
}

/** Spec: client-server-api/#appservice-login */
async function ownedBy(
  ctx: Context,
  appservice: Appservice,
  body: Static<typeof Body>,
): Promise<string> {
  const name = nameIn(body)
  if (name === undefined) throw forbidden('Application services log in users by their names')
  return ctx.accounts.requireOwned(appservice, name)
}

/** Who wants to log in; undefined for one named by an address or a number, of which none is known. */
function nameIn({ identifier, user, medium }: Static<typeof Body>): string | undefined {
  const type = identifier ? identifier.type : medium === undefined ? 'm.id.user' : 'm.id.thirdparty'
  const name = identifier ? identifier.user : user
  switch (type) {
    case 'm.id.user':
      if (name === undefined) throw missingParam("'user' is missing")
      return name
    case 'm.id.thirdparty':
    case 'm.id.phone':
      return undefined
    default:
      throw new MatrixError(400, 'M_UNKNOWN', `There is no identifier '${type}'`)
  }
}
