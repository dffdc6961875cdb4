import { type Static, Type as t } from '@sinclair/typebox'
import { requireAppservice } from '#api/http/access-token.ts'
import { op } from '#api/http/op.ts'
import { type Reply, json } from '#api/http/reply.ts'
import { type Appservice, appserviceLogin } from '#core/appservice.ts'
import { MatrixError, forbidden, missingParam } from '#core/error.ts'
import { UserId, open } from '#core/schema.ts'
import type { Context } from '#src/context.ts'

const Body = open({
  /** Set by application services alone. */
  type: t.Optional(t.String()),
  auth: t.Optional(open({ type: t.Optional(t.String()), session: t.Optional(t.String()) })),
  username: t.Optional(t.String()),
  password: t.Optional(t.String()),
  device_id: t.Optional(t.String()),
  initial_device_display_name: t.Optional(t.String()),
  inhibit_login: t.Optional(t.Boolean()),
})

export const register = op({
  id: 'register',
  method: 'POST',
  path: '/_matrix/client/v3/register',
  also: ['/_matrix/client/r0/register'],
  auth: 'appserviceOptional',
  limit: 'registration',
  maxBytes: 64 * 1024,
  query: open({ kind: t.Optional(t.String()) }),
  body: Body,
  response: open({ user_id: UserId }),

  async run({ who, query: { kind = 'user' }, body, request }, ctx) {
    if (kind === 'guest')
      throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'This server has no guests')
    if (kind !== 'user')
      throw new MatrixError(400, 'M_UNRECOGNIZED', `There are no accounts of kind '${kind}'`)
    // The way of application services is open when no other is.
    if (body.type === appserviceLogin)
      return registerFor(ctx, requireAppservice(request, who), body)
    requireOpen(ctx)
    // A name that cannot be had is refused before anything else is asked for.
    if (body.username !== undefined) await ctx.accounts.requireFree(body.username)
    const more = moreAuthentication(body.auth)
    if (more) return more
    if (body.password === undefined) throw missingParam("'password' is missing")

    const userId = await ctx.accounts.register({
      password: body.password,
      ...(body.username !== undefined && { name: body.username }),
    })
    return logIn(ctx, userId, body)
  },
})

/** Spec: application-service-api/#server-admin-style-permissions */
async function registerFor(ctx: Context, appservice: Appservice, body: Static<typeof Body>) {
  if (body.username === undefined) throw missingParam("'username' is missing")
  const userId = await ctx.accounts.registerFor(appservice, body.username)
  return logIn(ctx, userId, body)
}

/** Begins the session of a new user who wants one. */
async function logIn(ctx: Context, userId: string, body: Static<typeof Body>) {
  if (body.inhibit_login) return { user_id: userId }
  const session = await ctx.accounts.logIn(userId, {
    ...(body.device_id !== undefined && { deviceId: body.device_id }),
    ...(body.initial_device_display_name !== undefined && {
      displayName: body.initial_device_display_name,
    }),
  })
  return { user_id: userId, access_token: session.accessToken, device_id: session.deviceId }
}

export const checkUsernameAvailability = op({
  id: 'checkUsernameAvailability',
  method: 'GET',
  path: '/_matrix/client/v3/register/available',
  also: ['/_matrix/client/r0/register/available'],
  auth: 'none',
  limit: 'lookup',
  query: open({ username: t.String() }),
  response: open({ available: t.Boolean() }),

  async run({ query: { username } }, ctx) {
    requireOpen(ctx)
    await ctx.accounts.requireFree(username)
    return { available: true }
  },
})

/** Registration is open only if the operator also said that nothing else is asked for. */
function requireOpen({ config }: Context): void {
  const { enabled, dummy } = config.registration
  if (!enabled || !dummy) throw forbidden('Registration is closed on this server')
}

const flow = ['m.login.dummy']

/**
 * The one flow there is. The dummy stage asks for nothing, so there is nothing to remember between the
 * requests of a session.
 *
 * Spec: client-server-api/#user-interactive-authentication-api
 */
function moreAuthentication(
  auth: { type?: string; session?: string } | undefined,
): Reply | undefined {
  if (auth?.type === flow[0]) return undefined
  const request = {
    flows: [{ stages: flow }],
    params: {},
    session: auth?.session ?? crypto.randomUUID(),
  }
  if (auth?.type === undefined) return json(401, request)
  const error = `There is no stage '${auth.type}' here`
  return json(401, { ...request, errcode: 'M_UNAUTHORIZED', error })
}
