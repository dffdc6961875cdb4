import { membershipOf } from '#core/content/m.room.member.ts'
import type { EventFilter } from '#core/filter.ts'
import { type ReadEvent, isShown, toReadEvents } from '#engine/read/events.ts'
import { type RelatedReader, storable } from '#engine/read/related.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'
import type { Snapshots } from '#engine/read/snapshots.ts'
import { encodePlace } from '#engine/read/timeline-token.ts'
import { type Seen, visible } from '#engine/read/visible.ts'
import * as readTimeline from '#store/room/read-timeline.ts'
import type { Arrivals } from './arrivals.ts'
import type { RoomPlan } from './plan.ts'

/** What a sync tells of one room's events. */
export type Timeline = {
  /** Oldest first. */
  readonly events: readonly ReadEvent[]
  readonly limited: boolean
  /** From where on older events can be had. */
  readonly prevBatch: string | undefined
}

/** By room number; what was seen by the number of the event. */
export type Timelines = {
  readonly timelines: Map<number, Timeline>
  readonly seen: Map<number, Seen>
  /** Where it is all that came. */
  readonly arrivals: ReadonlyMap<number, Arrivals>
}

export const emptyTimeline: Timeline = { events: [], limited: false, prevBatch: undefined }

const defaultLimit = 10
const maxLimit = 100
/** How far back a filter looks for what it lets through, in events of one room. */
const maxScan = 1000

/** The newest events of each room's stretch that its reader may see, and what they were to the room then. */
export async function readTimelines(
  { sql, snapshots, eventIndex }: RelatedReader & { readonly snapshots: Snapshots },
  reader: { userId: string; ignored: ReadonlySet<string>; stateAfter: boolean },
  filter: EventFilter,
  plans: readonly RoomPlan[],
): Promise<Timelines> {
  const told = plans.filter(
    ({ room, low, high }) => high > low && filter.rooms.accepts(room.roomId),
  )
  const limit = Math.min(filter.limit ?? defaultLimit, maxLimit)
  const windows = told.map(({ room, low, high }) => ({
    shard: room.shard,
    roomNid: room.roomNid,
    low,
    high,
  }))
  const match = windowFilter(filter)
  if (match?.related) await eventIndex?.reach(windows.map(({ shard }) => shard))
  const rows = windows.length
    ? await readTimeline.newest(sql, windows, limit, match && { match, scan: maxScan })
    : []
  const rooms = new Map<number, RoomRef>(told.map(({ room }) => [room.roomNid, room]))
  const stored = rows.flatMap((row) => (row.event_nid === null ? [] : [row]))
  const loaded = new Map<number, ReadEvent>()
  for (const event of await toReadEvents(sql, rooms, stored)) loaded.set(event.nid, event)
  const found = Map.groupBy(rows, (row) => row.window_nid)
  const arrivals = new Map<number, Arrivals>()
  const windowed = told.map((plan) => {
    const own = found.get(plan.room.roomNid) ?? []
    const cut = cutAt(own, plan.low)
    const more = own[0]?.more === true || (match ? own[0]?.scanned === maxScan : false)
    const limited = more || cut !== undefined || plan.fresh
    const events = own
      .slice(cut)
      .flatMap((row) => (row.event_nid === null ? [] : (loaded.get(row.event_nid) ?? [])))
    if (!more && !match)
      arrivals.set(plan.room.roomNid, { low: plan.low, events: arrivalsIn(own, loaded) })
    return { plan, events, limited }
  })
  const asks = windowed.flatMap(({ plan, events }) =>
    events
      .filter((event) => isShown(event) && passes(event, filter, reader.ignored))
      .map((event) => ({ event, joinedUntil: plan.joinedUntil })),
  )
  const seen = await visible(sql, snapshots, reader.userId, asks)
  const allowed = new Set(asks.map(({ event }) => event.nid).filter((nid) => seen.has(nid)))
  const timelines = new Map<number, Timeline>()
  for (const { plan, events, limited } of windowed) {
    const shown = events.filter((event) => allowed.has(event.nid))
    const cut = reader.stateAfter ? -1 : misleading(shown, reader.userId, plan)
    if (cut >= 0) {
      const { chain, index } = shown[cut]!
      timelines.set(plan.room.roomNid, {
        events: shown.slice(cut + 1),
        limited: true,
        prevBatch: encodePlace({ chain: chain!, index: index!, side: 'after' }),
      })
      continue
    }
    // What is older than the first event told; if none is told, than all that was looked at.
    const first = shown[0] ?? events[0]
    const prevBatch =
      first?.chain === undefined || first.index === undefined
        ? undefined
        : encodePlace({
            chain: first.chain,
            index: first.index,
            side: 'before',
            ...(!limited && plan.low === 0 && { position: plan.high }),
          })
    timelines.set(plan.room.roomNid, { events: shown, limited, prevBatch })
  }
  return { timelines, seen, arrivals }
}

const arrivalsIn = (
  rows: readonly readTimeline.WindowRow[],
  loaded: ReadonlyMap<number, ReadEvent>,
): Arrivals['events'] =>
  rows.flatMap((row) => {
    const read = row.event_nid === null ? undefined : loaded.get(row.event_nid)
    return read && 'push_flags' in row ? [{ read, pushFlags: row.push_flags }] : []
  })

/**
 * Where a timeline has the reader's own membership last, if a state resolution made it another one
 * than that; else −1. Clients take what the timeline sets for what counts, and would leave a room
 * that they are in, or stay in one that they are not in: what is told of it has to begin later.
 */
function misleading(shown: readonly ReadEvent[], userId: string, { room }: RoomPlan): number {
  const at = shown.findLastIndex(
    ({ event }) => event.type === 'm.room.member' && event.stateKey === userId,
  )
  return at >= 0 && membershipOf(shown[at]!.event.content) !== room.membership ? at : -1
}

/** A reader's ignored users say nothing to them, but what they change in the room still counts. */
function passes(read: ReadEvent, filter: EventFilter, ignored: ReadonlySet<string>): boolean {
  const { event } = read
  if (event.stateKey === undefined && ignored.has(event.sender)) return false
  return filter.containsUrl === undefined || filter.accepts(event)
}

/**
 * Where a room's timeline must begin because what is older lies behind a gap: we were away, or
 * another server did not give us what is between. Undefined: all of it is newer than the gap, and what the
 * reader has is older.
 */
function cutAt(rows: readonly readTimeline.WindowRow[], low: number): number | undefined {
  const at = rows.findLastIndex(({ begins }, each) => {
    const begin = begins ?? 0
    // The first of its stretch in this window, and a stretch that begins in this window.
    return begin > low && (each === 0 || rows[each - 1]!.begins !== begins)
  })
  return at < 0 ? undefined : at
}

/** The part of a filter that the database can apply; undefined if that is nothing. */
function windowFilter(filter: EventFilter): readTimeline.WindowFilter | undefined {
  const { types, senders, related } = filter
  if (types.acceptsAll && senders.acceptsAll && !related) return undefined
  return {
    types: types.only?.filter(isStorable).map(toLike),
    notTypes: types.not.filter(isStorable).map(toLike),
    senders: senders.only,
    notSenders: senders.not,
    related: related && storable(related),
  }
}

/** No event has a type that the database cannot hold. */
const isStorable = (glob: string): boolean => !glob.includes('\0')

const toLike = (glob: string): string => glob.replace(/[\\%_]/g, '\\$&').replaceAll('*', '%')
