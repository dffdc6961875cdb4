import { MatrixError, RemoteError, invalidParam } from '#core/error.ts'
import type { EventFilter } from '#core/filter.ts'
import { decodeToken, isSyncToken } from './sync-token.ts'
import { shardOfNid } from '#core/shard.ts'
import { type ReadEvent, isShown, loadEvents } from './events.ts'
import { type RelatedReader, relatedAsks } from './related.ts'
import type { Reader, RoomAccess } from './room.ts'
import type { RoomRef } from './room-ref.ts'
import type { Snapshots } from './snapshots.ts'
import { type TimelinePlace, decodePlace, encodePlace } from './timeline-token.ts'
import { type Seen, joinedUntil, unseen, visible } from './visible.ts'
import { type Direction, firstPlace, placeAt, walk } from './walk.ts'

export type PageRequest = {
  readonly userId: string
  readonly direction: Direction
  readonly from: string | undefined
  readonly to: string | undefined
  readonly limit: number
  readonly filter: EventFilter
  /** For an administrator: whether or not the user could see it. */
  readonly everything?: boolean
}

type PageReader = Reader & RelatedReader & { readonly snapshots: Snapshots }

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
/** Events that are looked at in one go where a filter may leave most of them out. */
const filteredStep = 100
/** Times one request asks other servers for history. */
const maxBackfills = 2

/**
 * A page of a room's history in reading order. Its tokens name the last event that was looked at and
 * a side of it, so they stay right whatever is inserted elsewhere.
 *
 * Spec: client-server-api/#get_matrixclientv3roomsroomidmessages
 */
export async function readPage(
  reader: PageReader,
  { room, standing }: RoomAccess,
  request: PageRequest,
): Promise<Page> {
  const { sql } = reader
  const { direction, userId } = request
  const until = await joinedUntil(sql, room, userId, standing)
  const [from, to] = await Promise.all([
    startOf(reader, room, request.from, direction, until),
    request.to === undefined ? undefined : placeOf(reader, room, request.to),
  ])
  if (!from) return { events: [], seen: new Map(), start: request.from ?? '', end: undefined }
  const walker = new Walker(reader, room, request, to, until, standing?.membership === 'join')
  const end = await walker.run(from)
  const { events, seen } = walker
  return {
    events,
    seen,
    start: request.from ?? encodePlace(from),
    end: end && encodePlace(end),
  }
}

/** One request's way through the reading order. */
class Walker {
  readonly events: ReadEvent[] = []
  readonly seen = new Map<number, Seen>()
  readonly #reader: PageReader
  readonly #room: RoomRef
  readonly #request: PageRequest
  readonly #to: TimelinePlace | undefined
  readonly #until: number
  readonly #mayFetch: boolean
  #scanned = 0
  #backfills = 0

  constructor(
    reader: PageReader,
    room: RoomRef,
    request: PageRequest,
    to: TimelinePlace | undefined,
    until: number,
    mayFetch: boolean,
  ) {
    this.#reader = reader
    this.#room = room
    this.#request = request
    this.#to = to
    this.#until = until
    this.#mayFetch = mayFetch
  }

  /** Where a later request goes on; undefined if there is nothing further. */
  async run(from: TimelinePlace): Promise<TimelinePlace | undefined> {
    const { direction, limit, filter } = this.#request
    const least = filter.acceptsAll ? 0 : filteredStep
    let place = from
    while (this.events.length < limit && this.#scanned < maxScan) {
      const count = Math.max(limit - this.events.length, least)
      const step = await walk(this.#reader.sql, this.#room, place, direction, count)
      if (!step) throw invalidParam('The token is not of this room')
      const told = this.#to ? beforeBound(step.events, this.#to, direction) : step.events
      await this.#take(told)
      if (this.events.length > limit) return this.#cut(limit)
      if (told.length < step.events.length) return undefined
      place = step.next
      // The newest event is the end only for now.
      if (step.stop === 'end')
        return direction === 'f' && this.events.length > 0 ? place : undefined
      if (step.stop !== 'gap' || this.events.length === limit) continue
      if (await this.#fill(step.missing)) continue
      // A later request tries again; one that has nothing to give goes on behind the gap.
      if (this.events.length > 0) return place
      if (!step.beyond) return undefined
      place = step.beyond
    }
    return place
  }

  async #take(told: readonly { nid: number }[]): Promise<void> {
    const { sql, snapshots } = this.#reader
    const { filter, userId, everything = false } = this.#request
    this.#scanned += Math.max(told.length, 1)
    const loaded = await loadEvents(
      sql,
      new Map([[this.#room.roomNid, this.#room]]),
      told.map(({ nid }) => ({ shard: shardOfNid(nid), nid })),
    )
    const passing = told
      .flatMap(({ nid }) => loaded.get(nid) ?? [])
      .filter((event) => isShown(event) && filter.accepts(event.event))
      .map((event) => ({ event, joinedUntil: this.#until }))
    const asks = await relatedAsks(this.#reader, filter.related, passing)
    const found = everything ? unseen(asks) : await visible(sql, snapshots, userId, asks)
    for (const [nid, each] of found) this.seen.set(nid, each)
    for (const { event } of asks) if (found.has(event.nid)) this.events.push(event)
  }

  /** Gives back what is more than asked for: a later request begins behind the last that is told. */
  #cut(limit: number): TimelinePlace {
    const more = this.events.splice(limit)
    for (const { nid } of more) this.seen.delete(nid)
    const { chain, index } = this.events[limit - 1]!
    const side = this.#request.direction === 'b' ? 'before' : 'after'
    return { chain: chain!, index: index!, side }
  }

  /** Fetches history from other servers; that they do not answer only means that there is none now. */
  async #fill(missing: readonly string[]): Promise<boolean> {
    if (!this.#mayFetch || this.#backfills++ >= maxBackfills) return false
    const { roomId } = this.#room
    const limit = Math.min(this.#request.limit, 100)
    try {
      return (await this.#reader.rooms.call('backfill', roomId, [...missing], limit)) > 0
    } catch (error) {
      if (error instanceof RemoteError || (error instanceof MatrixError && error.status >= 500))
        return false
      throw error
    }
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

/** The place that a token of history or of /sync names. */
export async function placeOf(
  reader: Pick<Reader, 'sql'>,
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
