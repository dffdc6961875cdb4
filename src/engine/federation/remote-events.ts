import { RemoteError } from '#core/error.ts'
import { isEventId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import {
  type Ask,
  askForObject,
  eventIdsOf,
  malformedAnswer,
  objectsOf,
  pathOf,
  queryOf,
} from '#engine/federation/answer.ts'
import type { Federation } from '#engine/worker/protocol.ts'

/**
 * Asking other servers for events and states. Answers are bounded in size, time and number, and have
 * their shape; that the events in them are good, and of the room, is for the caller to check.
 *
 * Spec: server-server-api/#retrieving-events
 */
const v1 = '/_matrix/federation/v1'
const MiB = 1024 * 1024

/** An event has at most 64 KiB, and what it is wrapped in adds little. */
const bytesPerEvent = 70_000

/** What Synapse and we serve at most. */
const maxMissingEvents = 100
const maxBackfill = 500

/** Rooms of a million members exist; an event ID takes some 50 bytes. */
const maxStateEvents = 1_000_000

export type Missing = {
  /** Events that we have: the walk stops at them. */
  earliest: readonly string[]
  /** Events whose ancestors we lack. */
  latest: readonly string[]
  limit: number
  minDepth?: number
  /** Of the answer. */
  maxBytes?: number
}

/** The ancestors of events, as far as the other server has and shows them. */
export async function getMissingEvents(
  federation: Federation,
  destination: string,
  roomId: string,
  { earliest, latest, limit, minDepth = 0, maxBytes = Infinity }: Missing,
  ask: Ask = {},
): Promise<JsonObject[]> {
  const max = Math.min(limit, maxMissingEvents)
  const answer = await askForObject(federation, {
    destination,
    method: 'POST',
    uri: pathOf(`${v1}/get_missing_events`, roomId),
    body: JSON.stringify({
      earliest_events: earliest,
      latest_events: latest,
      limit: max,
      min_depth: minDepth,
    }),
    deadlineMs: 20_000,
    maxBytes: Math.min(max * bytesPerEvent, maxBytes),
    ...ask,
  })
  return objectsOf(destination, answer, 'events', max)
}

/** One event by its ID; undefined if the other server does not have it or does not show it. */
export async function getEvent(
  federation: Federation,
  destination: string,
  eventId: string,
  ask: Ask = {},
): Promise<JsonObject | undefined> {
  try {
    const answer = await askForObject(federation, {
      destination,
      method: 'GET',
      uri: pathOf(`${v1}/event`, eventId),
      deadlineMs: 15_000,
      maxBytes: 2 * bytesPerEvent,
      ...ask,
    })
    const [event] = objectsOf(destination, answer, 'pdus', 1)
    if (!event) throw malformedAnswer(destination, 'holds no event')
    return event
  } catch (error) {
    if (error instanceof RemoteError && (error.status === 404 || error.status === 403))
      return undefined
    throw error
  }
}

/** The state before an event, and its auth chain, as events. */
export async function getState(
  federation: Federation,
  destination: string,
  roomId: string,
  eventId: string,
  ask: Ask = {},
): Promise<{ state: JsonObject[]; authChain: JsonObject[] }> {
  const answer = await askForObject(federation, {
    destination,
    method: 'GET',
    uri: pathOf(`${v1}/state`, roomId) + queryOf([['event_id', eventId]]),
    deadlineMs: 120_000,
    maxBytes: 300 * MiB,
    ...ask,
  })
  return {
    state: objectsOf(destination, answer, 'pdus', maxStateEvents),
    authChain: objectsOf(destination, answer, 'auth_chain', maxStateEvents),
  }
}

/** The state before an event, and its auth chain, as event IDs. */
export async function getStateIds(
  federation: Federation,
  destination: string,
  roomId: string,
  eventId: string,
  ask: Ask = {},
): Promise<{ stateIds: string[]; authChainIds: string[] }> {
  const answer = await askForObject(federation, {
    destination,
    method: 'GET',
    uri: pathOf(`${v1}/state_ids`, roomId) + queryOf([['event_id', eventId]]),
    deadlineMs: 60_000,
    maxBytes: 100 * MiB,
    ...ask,
  })
  return {
    stateIds: eventIdsOf(destination, answer, 'pdu_ids', maxStateEvents),
    authChainIds: eventIdsOf(destination, answer, 'auth_chain_ids', maxStateEvents),
  }
}

/** The whole auth chain of an event. */
export async function getEventAuth(
  federation: Federation,
  destination: string,
  roomId: string,
  eventId: string,
  ask: Ask = {},
): Promise<JsonObject[]> {
  const answer = await askForObject(federation, {
    destination,
    method: 'GET',
    uri: pathOf(`${v1}/event_auth`, roomId, eventId),
    deadlineMs: 30_000,
    maxBytes: 64 * MiB,
    ...ask,
  })
  return objectsOf(destination, answer, 'auth_chain', maxStateEvents)
}

/** Events and what came before them, newest first if the other server keeps to custom. */
export async function backfill(
  federation: Federation,
  destination: string,
  roomId: string,
  fromEventIds: readonly string[],
  limit: number,
  ask: Ask = {},
): Promise<JsonObject[]> {
  const max = Math.min(limit, maxBackfill)
  const from = fromEventIds.map((eventId) => ['v', eventId] as const)
  const answer = await askForObject(federation, {
    destination,
    method: 'GET',
    uri: pathOf(`${v1}/backfill`, roomId) + queryOf([...from, ['limit', String(max)]]),
    deadlineMs: 30_000,
    maxBytes: max * bytesPerEvent,
    ...ask,
  })
  return objectsOf(destination, answer, 'pdus', maxBackfill)
}

/** The event of a room that the other server has nearest to a time; undefined if it has none. */
export async function timestampToEvent(
  federation: Federation,
  destination: string,
  roomId: string,
  ts: number,
  direction: 'f' | 'b',
  ask: Ask = {},
): Promise<{ eventId: string; originServerTs: number } | undefined> {
  try {
    const answer = await askForObject(federation, {
      destination,
      method: 'GET',
      uri:
        pathOf(`${v1}/timestamp_to_event`, roomId) +
        queryOf([
          ['ts', String(ts)],
          ['dir', direction],
        ]),
      deadlineMs: 8_000,
      maxBytes: 64 * 1024,
      ...ask,
    })
    const { event_id: eventId, origin_server_ts: originServerTs } = answer
    if (typeof eventId !== 'string' || !isEventId(eventId))
      throw malformedAnswer(destination, 'names no event')
    if (!Number.isSafeInteger(originServerTs)) throw malformedAnswer(destination, 'has no time')
    return { eventId, originServerTs: originServerTs as number }
  } catch (error) {
    if (error instanceof RemoteError && (error.status === 404 || error.status === 403))
      return undefined
    throw error
  }
}
