import { type Static, Type as t } from '@sinclair/typebox'
import {
  EmailRequest,
  PhoneRequest,
  refusePhone,
  requestToken,
} from '#api/client-server/account/request-token.ts'
import { deviceFields, deviceIn, writeSession } from '#api/client-server/account/session.ts'
import { requireAppservice } from '#api/http/access-token.ts'
import { op } from '#api/http/op.ts'
import { type Appservice, appserviceLogin } from '#core/appservice.ts'
import { MatrixError, forbidden, missingParam } from '#core/error.ts'
import { localpartOf } from '#core/ids.ts'
import { Content, UserId, open } from '#core/schema.ts'
import { requireStrong } from '#engine/user/accounts.ts'
import type { Flows, Proof, Stage } from '#engine/user/uia/flows.ts'
import * as registrationTokens from '#store/user/registration-tokens.ts'
import type { Context } from '#src/context.ts'

const Body = open({
  /** Set by application services alone. */
  type: t.Optional(t.String()),
  auth: t.Optional(Content),
  username: t.Optional(t.String()),
  password: t.Optional(t.String()),
  inhibit_login: t.Optional(t.Boolean()),
  /** Of a guest who becomes a user. */
  guest_access_token: t.Optional(t.String()),
  ...deviceFields,
})
type Body = Static<typeof Body>

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
  uia: {
    async flows({ query: { kind = 'user' }, body }, ctx) {
      // Guests prove nothing, and the way of application services is open when no other is.
      if (kind === 'guest' || body.type === appserviceLogin) return null
      if (kind !== 'user')
        throw new MatrixError(400, 'M_UNRECOGNIZED', `There are no accounts of kind '${kind}'`)
      const flows = openFlows(ctx)
      // What cannot be had is refused before anything is asked for.
      if (body.guest_access_token !== undefined) await guestOf(ctx, body)
      else if (body.username !== undefined) await ctx.accounts.requireFree(body.username)
      // Clients may ask first what is to be proved.
      if (!flows.flat().some((stage) => stage === body.auth?.['type'])) return flows
      if (body.password === undefined) throw missingParam("'password' is missing")
      requireStrong(body.password)
      return flows
    },
  },

  async run({ who, query: { kind }, body, request, proof }, ctx) {
    if (kind === 'guest') return registerGuest(ctx, body)
    if (body.type === appserviceLogin)
      return registerFor(ctx, requireAppservice(request, who), body)
    const userId = await registerUser(ctx, body, proof)
    if (body.inhibit_login) return { user_id: userId }
    const session = await ctx.accounts.logIn(userId, { ...deviceIn(body), proved: true })
    return { user_id: userId, ...writeSession(session) }
  },
})

/** Makes the account, or of a guest a user; an e-mail address that was proved becomes theirs. */
async function registerUser(ctx: Context, body: Body, proof: Proof): Promise<string> {
  const { username, password = '' } = body
  const { registrationToken, email, agreed } = proof
  let userId
  try {
    const guest = body.guest_access_token === undefined ? undefined : await guestOf(ctx, body)
    if (guest === undefined)
      userId = await ctx.accounts.register({
        password,
        ...(username !== undefined && { name: username }),
        ...(agreed !== undefined && { agreed }),
      })
    else {
      const passwordHash = await ctx.accounts.hash(password)
      await ctx.accounts.change(guest, { guest: false, passwordHash })
      userId = guest
    }
  } catch (error) {
    if (registrationToken !== undefined)
      await registrationTokens.giveBack(ctx.sql, registrationToken)
    throw error
  }
  if (email) {
    const threepid = { medium: 'email', ...email, addedAt: ctx.clock() }
    await ctx.users.call('addThreepid', userId, threepid)
  }
  return userId
}

/** The guest whose token the request holds, and who keeps their name. Spec: client-server-api/#guest-access */
async function guestOf(ctx: Context, { guest_access_token: token, username }: Body) {
  const session = await ctx.tokens.find(token!)
  if (!session?.guest) throw forbidden('The guest access token is not that of a guest')
  if (username !== localpartOf(session.userId))
    throw new MatrixError(400, 'M_INVALID_USERNAME', 'A guest who becomes a user keeps the name')
  return session.userId
}

/** Spec: client-server-api/#guest-access */
async function registerGuest(ctx: Context, body: Body) {
  if (!ctx.config.registration.guests)
    throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'This server has no guests')
  const userId = await ctx.accounts.registerGuest()
  const displayName = body.initial_device_display_name
  const session = await ctx.accounts.logIn(userId, {
    ...(displayName !== undefined && { displayName }),
  })
  return { user_id: userId, ...writeSession(session) }
}

/** Spec: application-service-api/#server-admin-style-permissions */
async function registerFor(ctx: Context, appservice: Appservice, body: Body) {
  if (body.username === undefined) throw missingParam("'username' is missing")
  const userId = await ctx.accounts.registerFor(appservice, body.username)
  if (body.inhibit_login) return { user_id: userId }
  return { user_id: userId, ...writeSession(await ctx.accounts.logIn(userId, deviceIn(body))) }
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
    openFlows(ctx)
    await ctx.accounts.requireFree(username)
    return { available: true }
  },
})

/**
 * What registering asks for. It is open only if the operator also said by what: nothing at all has to
 * be said, too.
 */
function openFlows({ config }: Context): Flows {
  const { enabled, dummy, tokens, email, policies } = config.registration
  const proofs: Stage[] = [
    ...(tokens ? ['m.login.registration_token' as const] : []),
    ...(email ? ['m.login.email.identity' as const] : []),
  ]
  if (!enabled || (proofs.length === 0 && !dummy))
    throw forbidden('Registration is closed on this server')
  const stages: Stage[] = [...(policies.length > 0 ? ['m.login.terms' as const] : []), ...proofs]
  return [stages.length > 0 ? stages : ['m.login.dummy']]
}

export const requestTokenToRegisterEmail = op({
  id: 'requestTokenToRegisterEmail',
  method: 'POST',
  path: '/_matrix/client/v3/register/email/requestToken',
  also: ['/_matrix/client/r0/register/email/requestToken'],
  auth: 'none',
  limit: 'registration',
  body: EmailRequest,
  response: open({ sid: t.String() }),

  run({ body }, ctx) {
    openFlows(ctx)
    return requestToken(ctx, 'register', body)
  },
})

export const requestTokenToRegisterMSISDN = op({
  id: 'requestTokenToRegisterMSISDN',
  method: 'POST',
  path: '/_matrix/client/v3/register/msisdn/requestToken',
  also: ['/_matrix/client/r0/register/msisdn/requestToken'],
  auth: 'none',
  limit: 'registration',
  body: PhoneRequest,
  run: refusePhone,
})
