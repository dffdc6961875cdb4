import { missingToken, unknownToken } from '#core/error.ts'
import type { Incoming } from '#api/http/incoming.ts'
import type { Session } from '#engine/user/access-tokens.ts'
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

/** The session of the caller; a token that is known costs no wait. */
export function requireSession(ctx: Context, request: Incoming): Session | Promise<Session> {
  const token = tokenOf(request)
  if (token === undefined) throw missingToken()
  const session = ctx.tokens.find(token)
  return session instanceof Promise
    ? session.then((found) => known(ctx, request, found))
    : known(ctx, request, session)
}

export function optionalSession(
  ctx: Context,
  request: Incoming,
): Session | Promise<Session> | null {
  return tokenOf(request) === undefined ? null : requireSession(ctx, request)
}

function known(ctx: Context, request: Incoming, session: Session | undefined): Session {
  if (!session) throw unknownToken()
  ctx.tokens.sight(session, ctx.clock(), () => request.address)
  return session
}
