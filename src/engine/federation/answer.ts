import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { isEventId, isRoomVersionId } from '#core/ids.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { parseLarge } from '#engine/federation/large-json.ts'
import type { Federation, OutgoingAnswer, OutgoingRequest } from '#engine/worker/protocol.ts'

/** How a caller wants its request treated; each operation has defaults of its own. */
export type Ask = {
  deadlineMs?: number
  /** A user waits: the destination is asked even if it is backing off. */
  ignoreBackoff?: boolean
}

/** What went wrong, where the other server gave no Matrix error code of its own. */
export const unreachable = 'laneway.unreachable'
export const backingOff = 'laneway.backing_off'
export const busy = 'laneway.busy'
export const answerTooLarge = 'laneway.answer_too_large'
export const malformed = 'laneway.malformed_answer'

/**
 * Whether the same request may succeed later: there was no answer, or one that speaks of the moment.
 */
export const isTransient = ({ status }: RemoteError): boolean =>
  status === 0 || status === 408 || status === 429 || status >= 500

/** The failure that an answer other than 200 tells of. */
export function failureOf(destination: string, { status, body }: OutgoingAnswer): RemoteError {
  const json = parseJson(body)
  const errcode = isObject(json) && typeof json['errcode'] === 'string' ? json['errcode'] : ''
  const error = isObject(json) && typeof json['error'] === 'string' ? json['error'] : ''
  const version = isObject(json) ? json['room_version'] : undefined
  return new RemoteError(
    destination,
    status,
    errcode.slice(0, 100) || 'M_UNKNOWN',
    error.slice(0, 500) || `${destination} answered with status ${status}`,
    typeof version === 'string' && isRoomVersionId(version) ? version : undefined,
  )
}

/** From so many characters on, parsing takes more than a turn may. */
const largeBody = 2_000_000

/** Makes a request, and the JSON object of its answer; anything else is a `RemoteError`. */
export async function askForObject(
  federation: Federation,
  request: OutgoingRequest,
): Promise<JsonObject> {
  const answer = await federation.call('request', request)
  if (answer.status !== 200) throw failureOf(request.destination, answer)
  const { body } = answer
  const json = body.length > largeBody ? await parseLarge(body) : parseJson(body)
  if (!isObject(json)) throw malformedAnswer(request.destination, 'is not a JSON object')
  return json
}

export const malformedAnswer = (destination: string, fault: string): RemoteError =>
  new RemoteError(destination, 200, malformed, `The answer of ${destination} ${fault}`)

/** A member of an answer that must be a list of objects, of at most so many. */
export function objectsOf(
  destination: string,
  answer: JsonObject,
  key: string,
  max: number,
): JsonObject[] {
  const list = listOf(destination, answer, key, max)
  if (!list.every(isObject)) throw malformedAnswer(destination, `has no list of events as ${key}`)
  return list
}

/** A member of an answer that must be a list of event IDs, of at most so many. */
export function eventIdsOf(
  destination: string,
  answer: JsonObject,
  key: string,
  max: number,
): string[] {
  const list = listOf(destination, answer, key, max)
  if (!list.every((id) => typeof id === 'string' && isEventId(id)))
    throw malformedAnswer(destination, `has no list of event IDs as ${key}`)
  return list as string[]
}

function listOf(destination: string, answer: JsonObject, key: string, max: number): Json[] {
  const list = answer[key]
  if (!Array.isArray(list)) throw malformedAnswer(destination, `has no list ${key}`)
  if (list.length > max)
    throw malformedAnswer(destination, `lists more than ${max} entries as ${key}`)
  return list
}

/** A path of the federation API from its parts, each percent-encoded. */
export const pathOf = (prefix: string, ...parts: readonly string[]): string =>
  [prefix, ...parts.map(encodeURIComponent)].join('/')

/** A query from pairs; undefined values are left out. */
export function queryOf(pairs: readonly (readonly [string, string | undefined])[]): string {
  const given = pairs.filter(([, value]) => value !== undefined)
  if (given.length === 0) return ''
  return `?${given.map(([key, value]) => `${key}=${encodeURIComponent(value!)}`).join('&')}`
}
