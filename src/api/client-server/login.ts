import { type Static, Type as t } from '@sinclair/typebox'
import { deviceFields, deviceIn, writeSession } from '#api/client-server/account/session.ts'
import { wellKnown } from '#api/client-server/wellknown/answer.ts'
import { requireAppservice } from '#api/http/access-token.ts'
import { op } from '#api/http/op.ts'
import { type Appservice, appserviceLogin } from '#core/appservice.ts'
import { MatrixError, forbidden, missingParam, userDeactivated } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { UserId, open } from '#core/schema.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { userLocked } from '#engine/user/accounts.ts'
import { identifierOf } from '#engine/user/identifier.ts'
import * as briefTokens from '#store/user/brief-tokens.ts'
import * as users from '#store/user/users.ts'
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

  run: (_, { appservices }) => ({
    flows: [
      { type: 'm.login.password' },
      { type: 'm.login.token', get_login_token: true },
      ...(appservices.all.length > 0 ? [{ type: appserviceLogin }] : []),
    ],
  }),
})

const Body = open({
  type: t.String(),
  identifier: t.Optional(open({ type: t.String() })),
  /** Deprecated forms of an identifier. */
  user: t.Optional(t.String()),
  medium: t.Optional(t.String()),
  address: t.Optional(t.String()),
  password: t.Optional(t.String()),
  token: t.Optional(t.String()),
  ...deviceFields,
})
type Body = Static<typeof Body>

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
        : body.type === 'm.login.token'
          ? await byToken(ctx, body)
          : await byPassword(ctx, body)
    const session = await ctx.accounts.logIn(userId, {
      ...deviceIn(body),
      // Whoever has a token was given it; only a password says who they are.
      proved: body.type === 'm.login.password',
    })
    const discovery = wellKnown(ctx)
    return {
      user_id: userId,
      ...writeSession(session),
      ...(discovery && { well_known: discovery }),
    }
  },
})

async function byPassword(ctx: Context, body: Body): Promise<string> {
  if (body.type !== 'm.login.password')
    throw new MatrixError(400, 'M_UNKNOWN', `There is no login by '${body.type}' here`)
  const named = namedIn(body)
  if (body.password === undefined) throw missingParam("'password' is missing")
  const userId = named && (await ctx.accounts.authenticate(named, body.password))
  if (userId === undefined) throw forbidden('The user name or the password is wrong')
  return userId
}

/** Spec: client-server-api/#legacy-login */
async function byToken(ctx: Context, body: Body): Promise<string> {
  if (body.token === undefined) throw missingParam("'token' is missing")
  const userId = await briefTokens.takeLogin(ctx.sql, hashToken(body.token), ctx.clock())
  const account = userId === undefined ? undefined : await users.get(ctx.sql, userId)
  if (userId === undefined || !account) throw forbidden('The login token is not valid')
  if (account.deactivated) throw userDeactivated(userId)
  if (account.locked) throw userLocked()
  return userId
}

/** Spec: client-server-api/#appservice-login */
async function ownedBy(ctx: Context, appservice: Appservice, body: Body): Promise<string> {
  const named = namedIn(body)
  if (!named || !('user' in named))
    throw forbidden('Application services log in users by their names')
  return ctx.accounts.requireOwned(appservice, named.user)
}

/** Whom a request names; undefined for a phone number, of which none is known. */
function namedIn(body: Body) {
  const named = identifierOf(body as JsonObject)
  const { identifier, user, medium } = body
  if (!named && !identifier && user === undefined && medium === undefined)
    throw missingParam("'identifier' is missing")
  return named
}
