import type { Static, TNever, TSchema, TUnknown } from '@sinclair/typebox'
import type { Incoming } from '#api/http/incoming.ts'
import type { LimitClass } from '#api/http/rate-limit.ts'
import type { Reply } from '#api/http/reply.ts'
import type { Appservice } from '#core/appservice.ts'
import type { OwnSession, Session } from '#engine/user/access-tokens.ts'
import type { Flows, Proof, Purpose } from '#engine/user/uia/flows.ts'
import type { Context } from '#src/context.ts'

/** Who may call, and what the handler then knows of the caller. */
export type Auths = {
  none: null
  /** A local user with an access token, or an application service that acts as one of its users. */
  user: Session
  /** A local user with an access token of their own: what is theirs alone to do with their account. */
  owner: OwnSession
  /** A user if there is a token, which must then be good. */
  userOptional: Session | null
  /** The same for what is the user's alone. */
  ownerOptional: OwnSession | null
  /** Another server, by its signature over the request. */
  server: { origin: string }
  /** An application service, by its own token; `userId` is its sender. */
  appservice: Acting
  /** An application service if the token is that of one; any other token counts for nothing. */
  appserviceOptional: Acting | null
  /** What reads measurements: by the operator's token, or where none is set, from this machine alone. */
  scraper: null
  /** A local user who is an administrator of this server; an application service acts as none. */
  admin: OwnSession
  /** Who may bring history into rooms: an administrator, or an application service as one of its users. */
  importer: Session
}
export type Auth = keyof Auths

export type Acting = { appservice: Appservice; userId: string }

/**
 * Users who are not in good standing. None of them is served unless an operation says so, but that
 * what only reads is open to the suspended.
 */
export type Standing = 'guest' | 'locked' | 'suspended'

export type Method = 'GET' | 'PUT' | 'POST' | 'DELETE'

/** What a handler is given. What has no schema is not read, and is not there. */
export type Input<A extends Auth, P extends TSchema, Q extends TSchema, B extends TSchema> = {
  who: Auths[A]
  params: Static<P>
  query: Static<Q>
  body: Static<B>
  request: Incoming
  /** What `uia` has proved; nothing where an operation has none, or asked for nothing. */
  proof: Proof
}

/** How callers prove, before an operation runs, that it is they who want it. */
export type UiaRule<A extends Auth, P extends TSchema, Q extends TSchema, B extends TSchema> = {
  /** A recent proof by the same access token will do, if the operator allows it. Else it is asked for always. */
  grace?: true
  /**
   * The ways to prove it: by password unless told. Null: nothing is to be proved this time. May refuse the
   * request before anything is asked for. Application services are never asked.
   */
  flows?(
    input: Input<A, P, Q, B>,
    ctx: Context,
  ): Promise<Flows | null | undefined> | Flows | null | undefined
  /** What e-mail addresses must have been validated for. */
  purpose?: Purpose
}

/** One operation of the spec: its contract as data, and the function that fulfils it. */
export type Op<
  A extends Auth,
  P extends TSchema,
  Q extends TSchema,
  B extends TSchema,
  R extends TSchema,
> = {
  /** The spec's `operationId`. */
  id: string
  method: Method
  /** The spec's path, with `:name` for `{name}`. */
  path: `/${string}`
  /** Older (`r0`) or unstable (MSC) paths of the same operation. */
  also?: readonly `/${string}`[]
  auth: A
  /** Answered by every listener, whatever it serves. */
  everywhere?: true
  /** HEAD is answered too. */
  head?: true
  /** Whom it serves besides users in good standing. */
  admits?: readonly Standing[]
  /** The body then holds `auth`, which the handler has no use for. */
  uia?: UiaRule<A, P, Q, B>
  /** Which budget a call is taken from; without one it is not limited. */
  limit?: LimitClass
  /** How many calls of this and others that say so may be under way for one caller; more are refused. */
  atOnce?: number
  /** The largest body, in bytes; 1 MiB unless told. */
  maxBytes?: number
  /** All strings, percent-decoded. */
  params?: P
  /** Numbers, booleans and lists are read from their texts as the schema says. */
  query?: Q
  /**
   * The body is not read before the handler runs, which takes it as it comes, from `request.stream`, and
   * sees to its size itself.
   */
  streams?: true
  /** An empty body counts as `{}`. Without a schema the body is read only for a server's signature. */
  body?: B
  /** Checked in tests, trusted in production. */
  response?: R
  run(input: Input<A, P, Q, B>, ctx: Context): Promise<Static<R> | Reply> | Static<R> | Reply
}

/** Declares an operation; it does nothing but give the handler its types. */
export const op = <
  A extends Auth,
  P extends TSchema = TNever,
  Q extends TSchema = TNever,
  B extends TSchema = TNever,
  R extends TSchema = TUnknown,
>(
  operation: Op<A, P, Q, B, R>,
): Op<A, P, Q, B, R> => operation

/** An operation whose input types are forgotten, as `mount` sees it. */
export type AnyOp = Op<any, any, any, any, any>

/** The groups of operations that a listener may serve. */
export const apis = ['client', 'federation', 'admin', 'metrics'] as const
export type Api = (typeof apis)[number]

/** Which group a path belongs to. */
export function apiOf(path: string): Api {
  if (/^\/(_matrix\/(federation|key|policy)\/|\.well-known\/matrix\/server$)/.test(path))
    return 'federation'
  if (/^\/(_synapse|_laneway)\/admin\//.test(path)) return 'admin'
  if (path === '/_laneway/metrics') return 'metrics'
  return 'client'
}
