import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readTimeline from '#store/room/read-timeline.ts'
import type { RoomRef } from './room-ref.ts'
import type { TimelinePlace } from './timeline-token.ts'

export type Direction = 'b' | 'f'

export type Step = {
  /** Events in the order of the walk. */
  readonly events: readonly { nid: number; chain: number; index: number }[]
  /** Where the next step begins. */
  readonly next: TimelinePlace
  /** Why there are not more: the limit, a gap in what we know, or the end of the room. */
  readonly stop: 'more' | 'gap' | 'end'
  /** The events missing at the gap. */
  readonly missing: readonly string[]
  /** Where the walk goes on if the gap cannot be filled. */
  readonly beyond: TimelinePlace | undefined
}

/** Spans looked at in one statement. */
const maxSpans = 8

// Its neighbours are integers of the database too.
const lowest = -(2 ** 31) + 2

/** Reads on from a place in reading order; undefined if the place is in no readable span. */
export async function walk(
  sql: Sql,
  room: RoomRef,
  place: TimelinePlace,
  direction: Direction,
  limit: number,
): Promise<Step | undefined> {
  const { chain, index, side } = place
  const anchor = { chain, index, inclusive: side === (direction === 'b' ? 'after' : 'before') }
  const read = direction === 'b' ? readTimeline.olderSpans : readTimeline.newerSpans
  const spans = await read(sql, room.shard, room.roomNid, anchor, limit, maxSpans)
  if (spans.length === 0) {
    // Nothing is left that way of an import that was undone.
    if (!(await readTimeline.isRead(sql, room.shard, room.roomNid, chain))) return undefined
    return { events: [], next: place, stop: 'end', missing: [], beyond: undefined }
  }
  const events: { nid: number; chain: number; index: number }[] = []
  const far = direction === 'b' ? 'before' : 'after'
  let next = place
  const step = (stop: Step['stop']): Step => ({
    events,
    next,
    stop,
    missing: [],
    beyond: undefined,
  })
  for (const [at, span] of spans.entries()) {
    // Newer than a gap lies what the span after it begins with.
    if (direction === 'f' && at > 0 && hasGap(span))
      return { ...step('gap'), missing: span.gap ?? [], beyond: near(span, direction) }
    const nids = span.nids ?? []
    for (const [each, nid] of nids.entries()) {
      if (events.length === limit) return step('more')
      const own = { chain: span.chain, index: span.indexes![each]! }
      events.push({ nid, ...own })
      next = { ...own, side: far }
    }
    if (nids.length === limit) return step('more')
    if (nids.length === 0 && at > 0) next = edge(span, direction)
    if (direction === 'b' && hasGap(span)) {
      const older = spans[at + 1]
      // What lies beyond is on the next page.
      if (!older && spans.length === maxSpans && at > 0) return step('more')
      return {
        ...step('gap'),
        missing: span.gap ?? [],
        beyond: older && near(older, direction),
      }
    }
  }
  return step(spans.length < maxSpans ? 'end' : 'more')
}

const hasGap = ({ gap }: readTimeline.SpanRow) => gap !== null && gap.length > 0

/** The side of a span from which the walk comes. */
const near = (span: readTimeline.SpanRow, direction: Direction): TimelinePlace =>
  direction === 'b'
    ? { chain: span.chain, index: span.to_index ?? -lowest, side: 'after' }
    : { chain: span.chain, index: span.from_index ?? lowest, side: 'before' }

/** The far side of a span without events. */
const edge = (span: readTimeline.SpanRow, direction: Direction): TimelinePlace =>
  direction === 'b'
    ? { chain: span.chain, index: span.from_index ?? lowest, side: 'before' }
    : { chain: span.chain, index: span.to_index ?? -lowest, side: 'after' }

/** The place after the last live event at or below a position of the room's shard. */
export async function placeAt(
  sql: Sql,
  room: RoomRef,
  position: number,
): Promise<TimelinePlace | undefined> {
  const [row] = await readTimeline.lastLive(sql, room.shard, room.roomNid, position)
  return row && { chain: row.chain, index: row.chain_index, side: 'after' }
}

/** The place before the first event that a room can be read from. */
export async function firstPlace(sql: Sql, room: RoomRef): Promise<TimelinePlace | undefined> {
  const [row] = await readTimeline.firstSpan(sql, room.shard, room.roomNid)
  return row && { chain: row.chain, index: row.from_index ?? lowest, side: 'before' }
}

/** The position of the last live event at or before a place; undefined if there is none. */
export async function positionOf(
  sql: Sql,
  { shard, roomNid }: RoomRef,
  { chain, index, side }: TimelinePlace,
): Promise<number | undefined> {
  if (shardOfNid(chain) !== shard) return undefined
  const last = side === 'before' ? index - 1 : index
  const [row] = await readTimeline.positionOf(sql, shard, roomNid, chain, last)
  return row?.position
}
