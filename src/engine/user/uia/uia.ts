import { MatrixError, badJson } from '#core/error.ts'
import { isObject, type JsonObject, type Json } from '#core/json.ts'
import type { AccessTokens } from '#engine/user/access-tokens.ts'
import * as uiaSessions from '#store/user/uia-sessions.ts'
import type { Purpose } from '#store/user/threepid-validations.ts'
import { type Challenge, type Flows, MoreAuthentication, type Proof, type Stage } from './flows.ts'
import { type StageOptions, type Stages, stagesOf } from './stages.ts'

export type UiaOptions = StageOptions & {
  tokens: AccessTokens
  /** How long a session may take. */
  lifetimeMs: number
  /** How long after a proof none is asked for again, where an operation allows it. */
  graceMs: number
  /** The most sessions that are kept; the oldest are given up. */
  maxSessions?: number
}

export type Asked = {
  /** The operation with its method and path: a session is good for nothing else. */
  operation: string
  flows: Flows
  /** What the request says: `auth` of its body. */
  auth: Json | undefined
  /** Whoever is logged in, by which token. */
  who: { userId: string; token: string } | undefined
  /** Whether a recent proof will do. */
  grace: boolean
  purpose: Purpose
}

/** Sessions after which it is looked whether there are too many. */
const lookEvery = 256

/**
 * User-interactive authentication. What a session has proved is stored, so that it survives a restart;
 * a session that is complete is used up by the one request that goes on.
 *
 * Spec: client-server-api/#user-interactive-authentication-api
 */
export class Uia {
  readonly #options: UiaOptions
  readonly #stages: Stages
  readonly #maxSessions: number
  #begun = 0

  constructor(options: UiaOptions) {
    this.#options = options
    this.#stages = stagesOf(options)
    this.#maxSessions = options.maxSessions ?? 50_000
  }

  /** What was proved; throws `MoreAuthentication` as long as that is not enough. */
  async require(asked: Asked): Promise<Proof> {
    const { who, flows } = asked
    if (asked.grace && who && (await this.#isRecent(who.token))) return {}
    const auth = authOf(asked.auth)
    if (!auth) throw await this.#challenge(asked)
    const key = await this.#keyOf(asked, auth)
    let completed = await this.#completedIn(key)
    if (!completed) throw await this.#challenge(asked, unknownSession)

    const { type } = auth
    if (typeof type === 'string' && !Object.hasOwn(completed, type)) {
      if (!flows.some((stages) => (stages as readonly string[]).includes(type)))
        throw this.#more(asked, key, completed, {
          errcode: 'M_UNAUTHORIZED',
          message: `There is no stage '${type}' here`,
        })
      const proof = await this.#try(type as Stage, auth, asked, key, completed)
      const all = await uiaSessions.complete(this.#sql, key, { [type]: proof }, this.#now)
      if (all === undefined) throw await this.#challenge(asked, unknownSession)
      completed = JSON.parse(all) as Completed
    }
    const done = completed
    const flow = flows.find((stages) => stages.every((stage) => Object.hasOwn(done, stage)))
    if (!flow) throw this.#more(asked, key, completed)
    if (!(await uiaSessions.take(this.#sql, key, this.#now)))
      throw await this.#challenge(asked, unknownSession)
    if (who && Object.hasOwn(done, 'm.login.password'))
      await this.#options.tokens.noteAuthenticated(who.token, this.#now)
    return Object.assign({}, ...flow.map((stage) => done[stage])) as Proof
  }

  /** Completes a stage from a page, which knows the session alone; answers whether it is known. */
  async completeAside(session: string, stage: Stage, auth: JsonObject): Promise<boolean> {
    const found = await uiaSessions.operationOf(this.#sql, session, this.#now)
    if (!found) return false
    const proof = await this.#stages[stage]({
      auth,
      session,
      userId: found.userId === '' ? undefined : found.userId,
      purpose: 'register',
    })
    const key = { sessionId: session, ...found }
    return (await uiaSessions.complete(this.#sql, key, { [stage]: proof }, this.#now)) !== undefined
  }

  get #sql() {
    return this.#options.sql
  }
  get #now() {
    return this.#options.clock()
  }

  async #isRecent(token: string): Promise<boolean> {
    const { graceMs, tokens } = this.#options
    if (graceMs <= 0) return false
    const at = await tokens.authenticatedAt(token)
    return at !== null && this.#now - at < graceMs
  }

  /** The session that a request names; one that names none begins one. */
  async #keyOf(asked: Asked, auth: JsonObject): Promise<uiaSessions.Key> {
    const { session } = auth
    return typeof session === 'string' ? keyOf(asked, session) : this.#begin(asked)
  }

  async #completedIn(key: uiaSessions.Key): Promise<Completed | undefined> {
    if (!sessionIds.test(key.sessionId)) return undefined
    const text = await uiaSessions.find(this.#sql, key, this.#now)
    return text === undefined ? undefined : (JSON.parse(text) as Completed)
  }

  async #begin(asked: Asked): Promise<uiaSessions.Key> {
    const key = keyOf(asked, crypto.randomUUID())
    await uiaSessions.begin(this.#sql, key, this.#now + this.#options.lifetimeMs)
    if (++this.#begun % lookEvery === 0) await uiaSessions.dropBeyond(this.#sql, this.#maxSessions)
    return key
  }

  async #try(
    stage: Stage,
    auth: JsonObject,
    asked: Asked,
    key: uiaSessions.Key,
    completed: Completed,
  ): Promise<Proof> {
    const { who, purpose } = asked
    const attempt = { auth, session: key.sessionId, userId: who?.userId, purpose }
    try {
      return await this.#stages[stage](attempt)
    } catch (error) {
      // What is wrong with the attempt is said with the session, so that another one can follow.
      const again = error instanceof MatrixError && error.status === 401
      if (!again || error.errcode === 'M_USER_LOCKED') throw error
      const { errcode, message } = error
      throw this.#more(asked, key, completed, { errcode, message })
    }
  }

  async #challenge(asked: Asked, fault?: Challenge['fault']): Promise<MoreAuthentication> {
    return this.#more(asked, await this.#begin(asked), {}, fault)
  }

  #more(
    { flows }: Asked,
    { sessionId: session }: uiaSessions.Key,
    completed: Completed,
    fault?: Challenge['fault'],
  ): MoreAuthentication {
    const asksTerms = flows.some((stages) => stages.includes('m.login.terms'))
    return new MoreAuthentication({
      flows,
      params: asksTerms
        ? { 'm.login.terms': { policies: JSON.parse(this.#options.policies) as object } }
        : {},
      session,
      completed: Object.keys(completed),
      ...(fault && { fault }),
    })
  }
}

type Completed = { [stage: string]: Proof }

const unknownSession = {
  errcode: 'M_FORBIDDEN',
  message: 'The session is unknown, of something else, or over; this is a new one',
} as const

/** As we make them. */
const sessionIds = /^[0-9a-f-]{36}$/

const keyOf = ({ who, operation }: Asked, sessionId: string): uiaSessions.Key => ({
  sessionId,
  userId: who?.userId ?? '',
  operation,
})

/** What a request says of its authentication; nothing if it says nothing. */
function authOf(auth: Json | undefined): JsonObject | undefined {
  if (auth === undefined || auth === null) return undefined
  if (!isObject(auth)) throw badJson("'auth' is an object")
  const { type, session } = auth
  for (const each of [type, session])
    if (each !== undefined && each !== null && typeof each !== 'string')
      throw badJson("'type' and 'session' of 'auth' are texts")
  return typeof type !== 'string' && typeof session !== 'string' ? undefined : auth
}
