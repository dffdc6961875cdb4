import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { parseJson } from '#core/canonical-json.ts'
import { type Appservice, covers } from '#core/appservice.ts'
import { MatrixError } from '#core/error.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { instanceId } from '#engine/appservice/network.ts'
import { isSuccess } from '#engine/appservice/http-link.ts'
import { type Link, LinkError, type LinkAnswer, type Question } from '#engine/appservice/link.ts'

/** An application service that can be asked something. */
export type Asked = {
  readonly appservice: Appservice
  readonly link: Link
  /** It did not answer lately: nobody waits for it. */
  readonly isAway: () => boolean
}

/** How long one may take to make a user or a room, or to answer of its network. */
const makeMs = 10_000
/** Of that, how long one request may take, and the pause before the next. */
const attemptMs = 5_000
const pauseMs = 200
const maxAttempts = 3
const lookMs = 10_000
const pingMs = 30_000
/** So long who said that there is no such user or room, or nothing, is not asked again. */
const unknownMs = 10_000
/** So long what is told of a network is kept. */
const networkMs = 300_000
/** Objects of one answer. */
const maxObjects = 1_000
/** Characters of an answer to a ping that are told. */
const maxTold = 5_000

/**
 * What application services are asked while somebody waits: whether they make a user or a room that is
 * unknown here, what they know of their networks, and whether they are there.
 */
export class Questions {
  readonly #asked: readonly Asked[]
  readonly #under = new Map<string, Promise<boolean>>()
  readonly #notMade = new LRUCache<string, 'unknown' | 'silence'>({
    ...atMost(10_000),
    ttl: unknownMs,
  })
  readonly #networks = new LRUCache<string, { value: JsonObject | undefined }>({
    max: 200,
    ttl: networkMs,
  })

  constructor(asked: readonly Asked[]) {
    this.#asked = asked
  }

  /**
   * Whether an application service has made a user that was unknown here. Fails with 408 if that is not known,
   * because one that they would be of does not answer.
   *
   * Spec: application-service-api/#querying. Not spec: one that did not answer lately is not waited for.
   */
  makesUser(userId: string): Promise<boolean> {
    return this.#make('users', userId)
  }

  /** Whether one has made a room for an alias that was unknown here. */
  makesRoom(alias: string): Promise<boolean> {
    return this.#make('aliases', alias)
  }

  /** The networks that application services answer for. Spec: application-service-api/#third-party-networks */
  async protocols(): Promise<JsonObject> {
    const names = [...new Set(this.#asked.flatMap(({ appservice }) => appservice.protocols))]
    const told = await Promise.all(names.map((name) => this.protocol(name)))
    const found: JsonObject = {}
    for (const [index, name] of names.entries()) if (told[index]) found[name] = told[index]
    return found
  }

  /** What is told of one network, by all who answer for it; undefined: nobody does. */
  async protocol(name: string): Promise<JsonObject | undefined> {
    const kept = this.#networks.get(name)
    if (kept) return kept.value
    const path = `/thirdparty/protocol/${encodeURIComponent(name)}`
    const told = await Promise.all(
      this.#of(name).map(async (each) => {
        const json = await this.#json(each, path, '')
        return isProtocol(json) ? withInstances(json, each.appservice.id) : undefined
      }),
    )
    const all = told.filter((each) => each !== undefined)
    const [first] = all
    const value = first && {
      ...first,
      instances: all.flatMap(({ instances }) => instances as JsonObject[]),
    }
    // One that was away may be back with the next question.
    if (value || this.#of(name).length === 0) this.#networks.set(name, { value })
    return value
  }

  /** Users or places of one network; undefined: nobody answers for it. */
  async inNetwork(
    kind: 'user' | 'location',
    protocol: string,
    fields: URLSearchParams,
  ): Promise<JsonObject[] | undefined> {
    const of = this.#of(protocol)
    if (of.length === 0) return undefined
    const query = fields.size > 0 ? `?${fields.toString()}` : ''
    return this.#lists(of, kind, `/thirdparty/${kind}/${encodeURIComponent(protocol)}`, query)
  }

  /** What in networks stands behind a user or an alias of ours. */
  behind(kind: 'user' | 'location', id: string): Promise<JsonObject[]> {
    const [space, name] =
      kind === 'user' ? (['users', 'userid'] as const) : (['aliases', 'alias'] as const)
    const of = this.#asked.filter(({ appservice }) => covers(appservice, space, id))
    return this.#lists(of, kind, `/thirdparty/${kind}`, `?${name}=${encodeURIComponent(id)}`)
  }

  /**
   * Asks an application service whether it is there; answers how many milliseconds that took.
   *
   * Spec: client-server-api, POST /appservice/{appserviceId}/ping
   */
  async ping(id: string, transactionId: string | undefined): Promise<number> {
    const found = this.#asked.find(({ appservice }) => appservice.id === id)
    const { connects } = found?.appservice ?? {}
    if (!found || (connects === 'maybe' && !found.link.isUp))
      throw new MatrixError(400, 'M_URL_NOT_SET', 'It has no address to be reached at')
    const body = JSON.stringify(
      transactionId === undefined ? {} : { transaction_id: transactionId },
    )
    const started = performance.now()
    let answer: LinkAnswer
    try {
      answer = await found.link.ask({ method: 'POST', path: '/ping', body, deadlineMs: pingMs })
    } catch (error) {
      if (!(error instanceof LinkError)) throw error
      const { message, timedOut } = error
      throw timedOut
        ? new MatrixError(504, 'M_CONNECTION_TIMEOUT', `It did not answer in time: ${message}`)
        : new MatrixError(502, 'M_CONNECTION_FAILED', `It could not be reached: ${message}`)
    }
    const { status, body: text } = answer
    if (isSuccess(status)) return Math.round(performance.now() - started)
    throw new MatrixError(502, 'M_BAD_STATUS', `It answered with status ${status}`, {
      status,
      body: text.slice(0, maxTold),
    })
  }

  #of(protocol: string): Asked[] {
    return this.#asked.filter(({ appservice }) => appservice.protocols.includes(protocol))
  }

  async #make(kind: 'users' | 'aliases', id: string): Promise<boolean> {
    const of = this.#asked.filter(
      ({ appservice, link }) =>
        covers(appservice, kind, id) &&
        !(kind === 'users' && id === appservice.sender) &&
        // Who has no address, and may never connect, takes no questions.
        (appservice.connects !== 'maybe' || link.isUp),
    )
    if (of.length === 0) return false
    const kept = this.#notMade.get(id)
    if (kept === 'silence') throw noAnswer()
    if (kept) return false
    let asking = this.#under.get(id)
    if (!asking) {
      asking = this.#askAll(of, kind, id).finally(() => this.#under.delete(id))
      this.#under.set(id, asking)
    }
    return asking
  }

  async #askAll(of: readonly Asked[], kind: 'users' | 'aliases', id: string): Promise<boolean> {
    const path = `/${kind === 'users' ? 'users' : 'rooms'}/${encodeURIComponent(id)}`
    const answers = await Promise.all(
      of.map(async (each) =>
        each.isAway() ? undefined : askAgain(each, { path, legacyPath: path }),
      ),
    )
    if (answers.some((answer) => answer && isSuccess(answer.status))) return true
    // One that is away now may be back in a moment.
    const isSilent = answers.includes(undefined)
    if (!isSilent) this.#notMade.set(id, 'unknown')
    else if (!of.some(({ isAway }) => isAway())) this.#notMade.set(id, 'silence')
    if (isSilent) throw noAnswer()
    return false
  }

  async #lists(
    of: readonly Asked[],
    kind: 'user' | 'location',
    path: string,
    query: string,
  ): Promise<JsonObject[]> {
    const wanted = kind === 'user' ? 'userid' : 'alias'
    const lists = await Promise.all(of.map((each) => this.#json(each, path, query)))
    return lists.flatMap((list) =>
      (Array.isArray(list) ? list : [])
        .filter(
          (each): each is JsonObject =>
            isObject(each) &&
            typeof each[wanted] === 'string' &&
            typeof each['protocol'] === 'string' &&
            isObject(each['fields']),
        )
        .slice(0, maxObjects),
    )
  }

  async #json(asked: Asked, path: string, query: string) {
    if (asked.isAway()) return undefined
    const legacyPath = `/_matrix/app/unstable${path}`
    const answer = await tryToAsk(asked, { path, query, legacyPath, deadlineMs: lookMs })
    return answer && isSuccess(answer.status) ? parseJson(answer.body) : undefined
  }
}

const noAnswer = () =>
  new MatrixError(408, 'M_UNKNOWN', 'An application service that would know does not answer')

/**
 * Asks several times while there is no answer; undefined if there is none in the end.
 *
 * Spec: application-service-api/#querying
 */
async function askAgain(
  asked: Asked,
  question: Omit<Question, 'method' | 'deadlineMs'>,
): Promise<LinkAnswer | undefined> {
  const end = performance.now() + makeMs
  for (let attempt = 1; attempt <= maxAttempts; attempt++) {
    const deadlineMs = Math.min(attemptMs, end - performance.now())
    if (deadlineMs < pauseMs) return undefined
    const answer = await tryToAsk(asked, { ...question, deadlineMs })
    if (answer) return answer
    if (attempt < maxAttempts) await Bun.sleep(pauseMs * attempt)
  }
  return undefined
}

/** Undefined if there is no answer. */
async function tryToAsk(
  { link }: Asked,
  question: Omit<Question, 'method'>,
): Promise<LinkAnswer | undefined> {
  try {
    return await link.ask({ method: 'GET', ...question })
  } catch (error) {
    if (error instanceof LinkError) return undefined
    throw error
  }
}

const isTexts = (value: unknown): boolean =>
  Array.isArray(value) && value.every((each) => typeof each === 'string')

/** Clients are given it as it is: every required member must be there. */
const isProtocol = (value: unknown): value is JsonObject =>
  isObject(value) &&
  isTexts(value['user_fields']) &&
  isTexts(value['location_fields']) &&
  typeof value['icon'] === 'string' &&
  isObject(value['field_types']) &&
  Array.isArray(value['instances'])

function withInstances(protocol: JsonObject, appserviceId: string): JsonObject {
  const instances = (protocol['instances'] as unknown[]).filter(
    (each): each is JsonObject =>
      isObject(each) &&
      typeof each['desc'] === 'string' &&
      typeof each['network_id'] === 'string' &&
      isObject(each['fields']),
  )
  return {
    ...protocol,
    instances: instances.map((each) => ({
      ...each,
      instance_id: instanceId(appserviceId, each['network_id'] as string),
    })),
  }
}
