import { MatrixError, RemoteError, invalidParam } from '#core/error.ts'
import type { EventFilter } from '#core/filter.ts'
import { decodeToken, isSyncToken } from './sync-token.ts'
import { shardOfNid } from '#core/shard.ts'
import { type ReadEvent, isShown, loadEvents } from './events.ts'
import type { Reader, RoomAccess } from './room.ts'
import type { RoomRef } from './room-ref.ts'
import type { Snapshots } from './snapshots.ts'
import { type TimelinePlace, decodePlace, encodePlace } from './timeline-token.ts'
import { type Seen, joinedUntil, visible } from './visible.ts'
import { type Direction, firstPlace, placeAt, walk } from './walk.ts'

export type PageRequest = {
  readonly userId: string
  readonly direction: Direction
  readonly from: string | undefined
  readonly to: string | undefined
  readonly limit: number
  readonly filter: EventFilter
}

export type Page = {
  /** In the order of the direction. */
  readonly events: readonly ReadEvent[]
  readonly seen: ReadonlyMap<number, Seen>
  readonly start: string
  /** Undefined: there is nothing further. */
  readonly end: string | undefined
}

/** Events that one request looks at, for want of some that its filter and its reader's rights let through. */
const maxScan = 1000
/** Times one request asks other servers for history. */
const maxBackfills = 2

/**
 * A page of a room's history in reading order. Its tokens name the last event that was looked at and
 * a side of it, so they stay right whatever is inserted elsewhere.
 *
 * Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
 */
export async function readPage(
  reader: Reader & { snapshots: Snapshots },
  { room, standing }: RoomAccess,
  request: PageRequest,
): Promise<Page> {
  const { sql } = reader
  const { direction, limit, filter, userId } = request
  const until = await joinedUntil(sql, room, userId, standing)
  const [from, to] = await Promise.all([
    startOf(reader, room, request.from, direction, until),
    request.to === undefined ? undefined : placeOf(reader, room, request.to),
  ])
  if (!from) return { events: [], seen: new Map(), start: request.from ?? '', end: undefined }
  const events: ReadEvent[] = []
  const seen = new Map<number, Seen>()
  let place = from
  let scanned = 0
  let backfills = 0
  let hasMore = true
  while (events.length < limit && scanned < maxScan && hasMore) {
    const step = await walk(sql, room, place, direction, limit - events.length)
    if (!step) throw invalidParam('The token is not of this room')
    const bounded = to ? beforeBound(step.events, to, direction) : step.events
    scanned += Math.max(bounded.length, 1)
    const loaded = await loadEvents(
      sql,
      new Map([[room.roomNid, room]]),
      bounded.map(({ nid }) => ({ shard: shardOfNid(nid), nid })),
    )
    const asks = bounded
      .flatMap(({ nid }) => loaded.get(nid) ?? [])
      .filter((event) => isShown(event) && filter.accepts(event.event))
      .map((event) => ({ event, joinedUntil: until }))
    const visibleNow = await visible(sql, reader.snapshots, userId, asks)
    for (const [nid, each] of visibleNow) seen.set(nid, each)
    for (const { event } of asks) if (visibleNow.has(event.nid)) events.push(event)
    if (bounded.length < step.events.length) {
      hasMore = false
      place = to!
    } else {
      place = step.next
      if (step.stop === 'end') hasMore = false
      else if (step.stop === 'gap' && events.length < limit) {
        const gained =
          standing?.membership === 'join' && backfills++ < maxBackfills
            ? await backfill(reader, room, step.missing, limit)
            : 0
        if (gained === 0) {
          hasMore = events.length > 0
          break
        }
      }
    }
  }
  return {
    events,
    seen,
    start: request.from ?? encodePlace(from),
    end: hasMore || (direction === 'f' && events.length > 0) ? encodePlace(place) : undefined,
  }
}

async function startOf(
  reader: Reader,
  room: RoomRef,
  from: string | undefined,
  direction: Direction,
  until: number,
): Promise<TimelinePlace | undefined> {
  if (from !== undefined) return placeOf(reader, room, from)
  if (direction === 'f') return firstPlace(reader.sql, room)
  const { rooms } = await reader.positions.settled()
  // Who left begins where they left.
  return placeAt(
    reader.sql,
    room,
    until >= 0 ? Math.min(until, rooms[room.shard]!) : rooms[room.shard]!,
  )
}

async function placeOf(
  reader: Reader,
  room: RoomRef,
  token: string,
): Promise<TimelinePlace | undefined> {
  if (!isSyncToken(token)) {
    const place = decodePlace(token)
    if (shardOfNid(place.chain) !== room.shard) throw invalidParam('The token is not of this room')
    return place
  }
  const position = decodeToken(token).rooms[room.shard]!
  return (await placeAt(reader.sql, room, position)) ?? firstPlace(reader.sql, room)
}

/** The events of a step that come before the place at which the client wants to stop. */
function beforeBound<E extends { chain: number; index: number }>(
  events: readonly E[],
  to: TimelinePlace,
  direction: Direction,
): readonly E[] {
  const end = events.findIndex(({ chain, index }) => {
    if (chain !== to.chain) return false
    if (index === to.index) return to.side === (direction === 'b' ? 'after' : 'before')
    return direction === 'b' ? index < to.index : index > to.index
  })
  return end < 0 ? events : events.slice(0, end)
}

/** Fetches history from other servers; that they do not answer only means that there is no more now. */
async function backfill(
  { rooms }: Reader,
  room: RoomRef,
  missing: readonly string[],
  limit: number,
): Promise<number> {
  try {
    return await rooms.call('backfill', room.roomId, [...missing], Math.min(limit, 100))
  } catch (error) {
    if (error instanceof RemoteError || (error instanceof MatrixError && error.status >= 500))
      return 0
    throw error
  }
}
