import { judgeRead, type Read, readPdu } from '#core/event/receive.ts'
import { neededKeys } from '#core/event/signatures.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { KeyLookup } from '#core/server-keys.ts'
import type { DroppedEvent, FetchedEvents, Fetching } from '#engine/room/fetch/fetching.ts'
import { KeyWishes } from '#engine/room/fetch/key-wishes.ts'
import { orderByParents } from '#engine/room/fetch/order.ts'
import { Pace } from '#engine/room/fetch/pace.ts'

/**
 * Steps 1 to 3 of the checks on receipt, for many events of one room at once.
 *
 * Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
 */
export type Receiving = Fetching &
  Readonly<{
    /** The room that all must be in. */
    roomId: string
    /** Takes events with more references than are allowed today, as old ones have. */
    anyListLength?: boolean
    /** How long to ask again for keys that cannot be had; by default they are asked for once. */
    keyPatienceMs?: number
  }>

/** Before a server is asked again for its keys; doubles. */
const firstPauseMs = 500

/** An event that was not dropped; with a reason it is to be rejected. */
export type Judged = Read & Readonly<{ rejection: string | undefined }>

/** The IDs of what was given, in that order; undefined for what has none. */
type EventIds = (string | undefined)[]

/** Checks events by themselves, and orders them: prev_events before what follows them. */
export async function receiveMany(
  version: RoomVersion,
  jsons: readonly JsonObject[],
  receiving: Receiving,
): Promise<FetchedEvents> {
  const pace = new Pace()
  const { judged, dropped } = await judgeAll(version, jsons, receiving, pace)
  const prevOf = (id: string) => judged.get(id)?.event.prevEvents
  const { order, cyclic } = await orderByParents(judged.keys(), prevOf, pace)
  for (const eventId of cyclic) dropped.push({ eventId, reason: 'The event follows itself' })
  const result: FetchedEvents = { events: [], rejected: [], dropped, lacking: [] }
  const outside = new Set<string>()
  for (const id of order) {
    const { event, redacted, rejection } = judged.get(id)!
    if (rejection === undefined) result.events.push({ event, redacted })
    else result.rejected.push({ event, redacted, reason: rejection })
    for (const prev of event.prevEvents)
      if (!judged.has(prev) || cyclic.has(prev)) outside.add(prev)
  }
  const known = await receiving.known?.standing([...outside])
  for (const id of outside) if (!known?.has(id)) result.lacking.push(id)
  return result
}

/** Steps 1 to 3 for all that is not known, each event once. */
export async function judgeAll(
  version: RoomVersion,
  jsons: readonly JsonObject[],
  receiving: Receiving,
  pace: Pace,
): Promise<{ ids: EventIds; judged: Map<string, Judged>; dropped: DroppedEvent[] }> {
  const { ids, reads, dropped } = await readAll(version, jsons, receiving, pace)
  const { keyPatienceMs = 0 } = receiving
  const givenUp = performance.now() + keyPatienceMs
  const judged = new Map<string, Judged>()
  let open = reads
  for (let pauseMs = firstPauseMs; open.size > 0; pauseMs *= 2) {
    const keys = await keysFor(open, receiving, pace)
    const lastTry = performance.now() + pauseMs > givenUp
    const keyless = new Map<string, Read>()
    for (const [eventId, read] of open) {
      if (pace.due) await pace.rest()
      const received = judgeRead(read, { keys, now: receiving.now(), lastTry })
      if (received.outcome === 'accept')
        judged.set(eventId, { ...read, rejection: received.rejection })
      else if (received.outcome === 'missing') keyless.set(eventId, read)
      else dropped.push({ eventId, reason: received.reason })
    }
    open = keyless
    if (open.size > 0) await Bun.sleep(pauseMs)
  }
  return { ids, judged, dropped }
}

async function keysFor(
  reads: ReadonlyMap<string, Read>,
  receiving: Receiving,
  pace: Pace,
): Promise<KeyLookup> {
  const wishes = new KeyWishes(receiving)
  for (const { event } of reads.values()) {
    if (pace.due) await pace.rest()
    for (const needed of neededKeys(event)) wishes.add(needed)
  }
  return wishes.fetch()
}

async function readAll(
  version: RoomVersion,
  jsons: readonly JsonObject[],
  { roomId, anyListLength = false, known }: Receiving,
  pace: Pace,
): Promise<{ ids: EventIds; reads: Map<string, Read>; dropped: DroppedEvent[] }> {
  const ids: (string | undefined)[] = []
  const reads = new Map<string, Read>()
  const dropped: DroppedEvent[] = []
  for (const json of jsons) {
    if (pace.due) await pace.rest()
    const read = readPdu(version, json, { roomId, anyListLength })
    if (typeof read === 'string') {
      ids.push(undefined)
      dropped.push({ eventId: undefined, reason: read })
      continue
    }
    const { eventId } = read.event
    ids.push(eventId)
    if (!reads.has(eventId)) reads.set(eventId, read)
  }
  if (known && reads.size > 0)
    for (const eventId of (await known.standing([...reads.keys()])).keys()) reads.delete(eventId)
  return { ids, reads, dropped }
}
