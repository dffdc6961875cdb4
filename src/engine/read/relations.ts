import { invalidParam } from '#core/error.ts'
import { canBeThreadRoot } from '#core/relations.ts'
import { redactEvent } from '#core/event/receive.ts'
import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readIndex from '#store/event-index/read.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { BundleReader } from './bundles.ts'
import { readEvent } from './event.ts'
import { type ReadEvent, isShown, loadEvents } from './events.ts'
import { type Reader, type RoomAccess, noSuchEvent } from './room.ts'
import type { RoomRef } from './room-ref.ts'
import { placeOf } from './timeline.ts'
import { type TimelinePlace, encodePlace } from './timeline-token.ts'
import { type Seen, joinedUntil, visible } from './visible.ts'
import type { Direction } from './walk.ts'

export type RelationsReader = Reader & BundleReader

export type RelationsRequest = {
  readonly userId: string
  readonly ignored: ReadonlySet<string>
  readonly eventId: string
  readonly relType: string | undefined
  readonly eventType: string | undefined
  readonly recurse: boolean
  readonly direction: Direction
  readonly from: string | undefined
  readonly to: string | undefined
  readonly limit: number
}

export type RelationsPage = {
  readonly events: readonly ReadEvent[]
  readonly seen: ReadonlyMap<number, Seen>
  readonly next: string | undefined
}

/** Levels of relations that are followed. */
export const maxDepth = 3
/** Pages that are looked through for one that has something its reader may see. */
const maxPages = 5

/**
 * The events that relate to one, in reading order. A token is the place of the last event that was
 * looked at, so it stays right whatever is inserted elsewhere.
 *
 * Spec: client-server-api/#relationships-api
 */
export async function readRelations(
  reader: RelationsReader,
  access: RoomAccess | undefined,
  request: RelationsRequest,
): Promise<RelationsPage> {
  const { sql } = reader
  const { userId, eventId, direction, limit } = request
  const parent = await readEvent(reader, access, userId, eventId)
  const { room } = parent.event
  const [from, to] = await Promise.all([
    boundOf(reader, room, request.from, direction),
    boundOf(reader, room, request.to, direction),
    reader.eventIndex?.reach([room.shard]),
  ])
  const step = (at: readIndex.Bound | undefined) =>
    readIndex.page(sql, {
      ...room,
      target: packEventId(eventId),
      relType: request.relType,
      type: request.eventType,
      depth: request.recurse ? maxDepth : 1,
      ignored: [...request.ignored],
      older: direction === 'b',
      from: at,
      to,
      limit,
    })
  return seek(from, direction, limit, step, async (rows) => {
    const loaded = await load(sql, room, rows)
    const asks = loaded
      // What was redacted relates to nothing any more.
      .filter((event) => isShown(event) && !event.redactedBecause)
      .map((event) => ({ event, joinedUntil: parent.joinedUntil }))
    const seen = await visible(sql, reader.snapshots, userId, asks)
    return { events: asks.map(({ event }) => event).filter(({ nid }) => seen.has(nid)), seen }
  })
}

export type ThreadsRequest = {
  readonly userId: string
  readonly ignored: ReadonlySet<string>
  readonly participated: boolean
  readonly from: string | undefined
  readonly limit: number
}

/**
 * The roots of a room's threads, the one with the latest reply first; tokens are the places of those
 * replies.
 *
 * Spec: client-server-api/#querying-threads-in-a-room
 */
export async function readThreads(
  reader: RelationsReader,
  { room, standing }: RoomAccess,
  request: ThreadsRequest,
): Promise<RelationsPage> {
  const { sql } = reader
  const { userId, ignored, participated, limit } = request
  const [from, until] = await Promise.all([
    boundOf(reader, room, request.from, 'b'),
    joinedUntil(sql, room, userId, standing),
    reader.eventIndex?.reach([room.shard]),
  ])
  const step = (at: readIndex.Bound | undefined) =>
    readIndex.threads(sql, {
      ...room,
      userId,
      participated,
      ignored: [...ignored],
      from: at,
      limit,
    })
  return seek(from, 'b', limit, step, async (rows) => {
    const asks = (await load(sql, room, rows))
      .filter((event) => isShown(event) && canBeThreadRoot(event.event.content))
      .map((event) => ({ event, joinedUntil: until }))
    const seen = await visible(sql, reader.snapshots, userId, asks)
    const events = asks
      .map(({ event }) => event)
      .filter(({ nid }) => seen.has(nid))
      // An ignored user's thread is shown without what they said.
      .map((each) =>
        ignored.has(each.event.sender) ? { ...each, event: redactEvent(each.event) } : each,
      )
    return { events, seen }
  })
}

type Found = { events: readonly ReadEvent[]; seen: ReadonlyMap<number, Seen> }

/** Reads pages until one has something to show. */
async function seek(
  from: readIndex.Bound | undefined,
  direction: Direction,
  limit: number,
  step: (at: readIndex.Bound | undefined) => PromiseLike<readIndex.PageRow[]>,
  take: (rows: readonly readIndex.PageRow[]) => Promise<Found>,
): Promise<RelationsPage> {
  let at = from
  for (let page = 1; ; page++) {
    const rows = await step(at)
    const told = rows.slice(0, limit)
    const found = await take(told)
    const last = told.at(-1)
    if (!last || rows.length <= limit) return { ...found, next: undefined }
    const place: TimelinePlace = {
      chain: last.chain,
      index: last.chain_index,
      side: direction === 'b' ? 'before' : 'after',
    }
    if (found.events.length > 0 || page === maxPages) return { ...found, next: encodePlace(place) }
    at = bound(place, direction)
  }
}

async function load(
  sql: Sql,
  room: RoomRef,
  rows: readonly readIndex.PageRow[],
): Promise<ReadEvent[]> {
  const loaded = await loadEvents(
    sql,
    new Map([[room.roomNid, room]]),
    rows.map(({ event_nid: nid }) => ({ shard: shardOfNid(nid), nid })),
  )
  return rows.flatMap(({ event_nid: nid }) => loaded.get(nid) ?? [])
}

const bound = ({ chain, index, side }: TimelinePlace, direction: Direction): readIndex.Bound => ({
  chain,
  index,
  inclusive: side === (direction === 'b' ? 'after' : 'before'),
})

async function boundOf(
  { sql }: Pick<Reader, 'sql'>,
  room: RoomRef,
  token: string | undefined,
  direction: Direction,
): Promise<readIndex.Bound | undefined> {
  if (token === undefined) return undefined
  const place = await placeOf({ sql }, room, token)
  if (!place) throw noSuchEvent()
  const at = bound(place, direction)
  if (!(await readIndex.isPlace(sql, room, at))) throw invalidParam('The token is not of this room')
  return at
}
