import type { Appservice } from '#core/appservice.ts'
import { forbidden, missingToken, unknownToken } from '#core/error.ts'
import type { Incoming } from '#api/http/incoming.ts'
import type { Acting } from '#api/http/op.ts'
import type { OwnSession, Session } from '#engine/user/access-tokens.ts'
import type { Context } from '#src/context.ts'

/**
 * The access token of a request: in the header, or, deprecated, in the query.
 *
 * Spec: client-server-api/#using-access-tokens
 */
export function tokenOf(request: Incoming): string | undefined {
  const header = request.headers.get('authorization')
  if (header !== null) return /^Bearer +(\S+) *$/i.exec(header)?.[1]
  if (!request.uri.includes('access_token=')) return undefined
  return request.query.get('access_token') || undefined
}

/** The application service whose own token this is. */
export function appserviceOf(ctx: Context, request: Incoming): Acting | null {
  const token = tokenOf(request)
  const appservice = token === undefined ? undefined : ctx.appservices.byToken.get(token)
  return appservice ? { appservice, userId: appservice.sender } : null
}

/**
 * The application service of a request that only such a one can make.
 *
 * Spec: application-service-api/#server-admin-style-permissions
 */
export function requireAppservice(request: Incoming, acting: Acting | null): Appservice {
  if (acting) return acting.appservice
  throw tokenOf(request) === undefined ? missingToken() : unknownToken()
}

/** The session of the caller; a token that is known costs no wait. */
export function requireSession(ctx: Context, request: Incoming): Session | Promise<Session> {
  const acting = appserviceOf(ctx, request)
  return acting ? actingSession(ctx, request, acting) : requireLogin(ctx, request)
}

/** The session of a caller who has logged in. */
export function requireOwnSession(
  ctx: Context,
  request: Incoming,
): OwnSession | Promise<OwnSession> {
  if (appserviceOf(ctx, request)) throw forbidden('An application service may not do this')
  return requireLogin(ctx, request)
}

export function optionalSession(
  ctx: Context,
  request: Incoming,
): Session | Promise<Session> | null {
  return tokenOf(request) === undefined ? null : requireSession(ctx, request)
}

export function optionalOwnSession(
  ctx: Context,
  request: Incoming,
): OwnSession | Promise<OwnSession> | null {
  return tokenOf(request) === undefined ? null : requireOwnSession(ctx, request)
}

function requireLogin(ctx: Context, request: Incoming): OwnSession | Promise<OwnSession> {
  const token = tokenOf(request)
  if (token === undefined) throw missingToken()
  const session = ctx.tokens.find(token)
  return session instanceof Promise
    ? session.then((found) => current(ctx, request, found))
    : current(ctx, request, session)
}

/** Spec: client-server-api/#soft-logout */
function current(ctx: Context, request: Incoming, session: OwnSession | undefined): OwnSession {
  if (session?.expiresAt !== undefined && session.expiresAt <= ctx.clock()) throw unknownToken(true)
  return known(ctx, request, session)
}

/** Spec: application-service-api/#identity-assertion */
function actingSession(
  ctx: Context,
  request: Incoming,
  { appservice, userId: sender }: Acting,
): Session | Promise<Session> {
  const userId = request.query.get('user_id') ?? sender
  const { query } = request
  // MSC3202
  const deviceId = query.get('device_id') ?? query.get('org.matrix.msc3202.device_id') ?? undefined
  const session = ctx.tokens.acting.find(appservice, userId, deviceId)
  return session instanceof Promise
    ? session.then((found) => known(ctx, request, found))
    : known(ctx, request, session)
}

function known<S extends Session>(ctx: Context, request: Incoming, session: S | undefined): S {
  if (!session) throw unknownToken()
  ctx.tokens.sight(session, ctx.clock(), () => request.address)
  return session
}
