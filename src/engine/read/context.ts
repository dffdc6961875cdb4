import type { EventFilter } from '#core/filter.ts'
import { shardOfNid } from '#core/shard.ts'
import { type ReadEvent, isShown, loadEvents } from './events.ts'
import { readEvent } from './event.ts'
import { type RelatedReader, relatedAsks } from './related.ts'
import type { Reader, RoomAccess } from './room.ts'
import type { RoomRef } from './room-ref.ts'
import type { Snapshots } from './snapshots.ts'
import { type TimelinePlace, encodePlace } from './timeline-token.ts'
import { type Seen, neverJoined, unseen, visible } from './visible.ts'
import { type Direction, walk } from './walk.ts'

export type Surrounding = {
  readonly event: ReadEvent
  /** Newest first. */
  readonly before: readonly ReadEvent[]
  /** Oldest first. */
  readonly after: readonly ReadEvent[]
  readonly seen: ReadonlyMap<number, Seen>
  readonly start: string
  readonly end: string
}

type ContextReader = Reader & RelatedReader & { readonly snapshots: Snapshots }

/**
 * An event and those around it in reading order.
 *
 * Spec: client-server-api/#get_matrixclientv3roomsroomidcontexteventid
 */
export async function readContext(
  reader: ContextReader,
  access: RoomAccess | undefined,
  userId: string,
  eventId: string,
  limit: number,
  filter: EventFilter,
): Promise<Surrounding> {
  const { event, seen, joinedUntil } = await readEvent(reader, access, userId, eventId)
  return surrounding(reader, event, seen, limit, { userId, joinedUntil, filter })
}

/** The same for an administrator, whether or not they could see it. */
export const readContextOf = (
  reader: ContextReader,
  event: ReadEvent,
  userId: string,
  limit: number,
  filter: EventFilter,
): Promise<Surrounding> =>
  surrounding(reader, event, { membership: 'leave', joinedUntil: neverJoined }, limit, {
    userId,
    joinedUntil: neverJoined,
    filter,
    everything: true,
  })

type Asker = { userId: string; joinedUntil: number; filter: EventFilter; everything?: boolean }

async function surrounding(
  reader: ContextReader,
  event: ReadEvent,
  own: Seen,
  limit: number,
  asker: Asker,
): Promise<Surrounding> {
  const { room } = event
  const { chain, index } = event
  const seen = new Map<number, Seen>([[event.nid, own]])
  // An outlier stands nowhere in the room's history.
  if (chain === undefined || index === undefined)
    return { event, before: [], after: [], seen, start: '', end: '' }
  // Rounded so that an odd limit shows more of what came before.
  const older = Math.ceil(limit / 2)
  const side = async (direction: Direction, count: number) => {
    const place: TimelinePlace = { chain, index, side: direction === 'b' ? 'before' : 'after' }
    return readSide(reader, room, place, direction, count, { ...asker, seen })
  }
  const [before, after] = await Promise.all([side('b', older), side('f', limit - older)])
  return {
    event,
    before: before.events,
    after: after.events,
    seen,
    start: encodePlace(before.end),
    end: encodePlace(after.end),
  }
}

async function readSide(
  reader: ContextReader,
  room: RoomRef,
  place: TimelinePlace,
  direction: Direction,
  count: number,
  who: Asker & { seen: Map<number, Seen> },
): Promise<{ events: ReadEvent[]; end: TimelinePlace }> {
  const { sql, snapshots } = reader
  const step = count > 0 ? await walk(sql, room, place, direction, count) : undefined
  if (!step) return { events: [], end: place }
  const loaded = await loadEvents(
    sql,
    new Map([[room.roomNid, room]]),
    step.events.map(({ nid }) => ({ shard: shardOfNid(nid), nid })),
  )
  const passing = step.events
    .flatMap(({ nid }) => loaded.get(nid) ?? [])
    .filter((each) => isShown(each) && who.filter.accepts(each.event))
    .map((each) => ({ event: each, joinedUntil: who.joinedUntil }))
  const asks = await relatedAsks(reader, who.filter.related, passing)
  const found = who.everything ? unseen(asks) : await visible(sql, snapshots, who.userId, asks)
  for (const [nid, each] of found) who.seen.set(nid, each)
  const events = asks.map((ask) => ask.event).filter(({ nid }) => found.has(nid))
  return { events, end: step.next }
}
