import type { RoomEvent } from '#core/event/pdu.ts'
import { packEventId, unpackEventId } from '#store/room/event-id.ts'
import * as findEvents from '#store/room/find-events.ts'
import { aside } from '#engine/room/aside.ts'
import type { Fetching, KnownEvents } from '#engine/room/fetch/fetching.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Parts } from '#engine/room/parts.ts'
import { isOutlier, isRejected, type Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** Event IDs looked up in one statement. */
const idsPerQuery = 10_000

/** What it takes to know what an event stands for, without its text. */
export type Standing = { nid: number; stateKeyNid: number | null; flags: number }

/** What a room has of these events: from memory, and from the database in few statements. */
export function* standingsOf(
  parts: Parts,
  room: Room,
  eventIds: readonly string[],
): Task<Map<string, Standing>> {
  const found = new Map<string, Standing>()
  const missing: Uint8Array[] = []
  for (const id of eventIds) {
    const known = parts.events.find(room, id)
    if (known) found.set(id, known)
    else missing.push(packEventId(id))
  }
  for (let from = 0; from < missing.length; from += idsPerQuery) {
    const some = missing.slice(from, from + idsPerQuery)
    const rows = yield* wait(
      findEvents.standings(parts.sql, room.shard, room.nid, some).then((list) => list),
    )
    for (const { event_id: id, event_nid: nid, state_key_nid: stateKeyNid, flags } of rows)
      found.set(unpackEventId(id, room.version), { nid, stateKeyNid, flags })
    yield
  }
  return found
}

/** What we have of a room, for whoever fetches the rest; `placed` leaves out what stands beside its graph. */
export function knownIn(lane: Lane, which: 'all' | 'placed'): KnownEvents {
  const { parts } = lane
  const counts = (standing: { flags: number }) => which === 'all' || !isOutlier(standing)
  return {
    standing: (eventIds) =>
      aside(lane, function* (room) {
        const found = new Map<string, 'accepted' | 'rejected'>()
        if (!room) return found
        for (const [id, standing] of yield* standingsOf(parts, room, eventIds))
          if (counts(standing)) found.set(id, isRejected(standing) ? 'rejected' : 'accepted')
        return found
      }),
    get: (eventIds) =>
      aside(lane, function* (room) {
        const found = new Map<string, { event: RoomEvent; rejected: boolean }>()
        if (!room) return found
        for (const [id, known] of yield* parts.events.byIds(room, eventIds))
          if (counts(known)) found.set(id, { event: known.event, rejected: isRejected(known) })
        return found
      }),
  }
}

/** What requests about a room need; all that we have of it counts as known. */
export const fetchingIn = (lane: Lane, deadlineMs: number): Fetching => ({
  federation: lane.parts.federation,
  now: lane.parts.now,
  deadlineMs,
  keys: lane.parts.keys.lookup,
  known: knownIn(lane, 'all'),
})

/** Not spec: so many servers are asked for one thing. */
const maxServers = 5

/** Servers of a room to ask, some first, then those with the most members. */
export function serversOf({ parts }: Lane, room: Room, first: readonly string[]): string[] {
  const own = parts.signing.serverName
  const others = [...room.servers.values()].sort((a, b) => b.joined - a.joined)
  const names = new Set([...first, ...others.map(({ name }) => name)])
  names.delete(own)
  return [...names].slice(0, maxServers)
}
