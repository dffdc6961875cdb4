import type { RoomPart, Span } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import { type LateEvent, placeLate, splitBefore } from '#store/room/plan-late.ts'
import { openGap } from '#store/room/plan-spans.ts'
import { around, type Place } from '#store/room/span-list.ts'
import { isDummy } from '#core/content/dummy-event.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import { isOutlier, type Known, type Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/**
 * Where events read in a room's history. A live event goes to the end of the live chain, behind a gap
 * if it cites what is not here. One that others cite already is late: it goes directly before the
 * first of those, and so does a page of history.
 */

/** What placing an event asks for beside the room itself. */
export type Surroundings = {
  /** prev_events that are not here. */
  gap: readonly string[]
  /** Placed events that cite what is being placed, or rest on it behind a gap, by number. */
  children: ReadonlyMap<number, Known>
  behind: readonly number[]
}

const nowhere: Surroundings = { gap: [], children: new Map(), behind: [] }

/** Of what stands at the end of the room, nothing is to be asked. */
export const surroundingsAtEnd = (
  room: Room,
  event: RoomEvent,
  gap: readonly string[],
  behind: readonly number[] | undefined,
): Surroundings | undefined =>
  gap.length === 0 && !behind?.length && !room.missing.has(event.eventId) ? nowhere : undefined

/** How often, and how long each time, a span is waited for that is on its way to the database. */
const spanTries = 100
const spanMs = 20

/** Reads what placing an event asks for. */
export function* surroundingsOf(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  gap: readonly string[],
  behind: readonly number[] = [],
): Task<Surroundings> {
  const children = yield* childrenOf(parts, room, [event.eventId], behind)
  yield* readSpans(parts, room, children.values())
  return { gap, children, behind }
}

/** Events that cite something missing which is about to come, with the spans around them. */
export function* childrenOf(
  parts: Parts,
  room: Room,
  arriving: Iterable<string>,
  behind: readonly number[] = [],
): Task<Map<number, Known>> {
  const nids = new Set(behind)
  for (const id of arriving) for (const nid of room.missing.get(id) ?? []) nids.add(nid)
  const found = yield* parts.events.byNids(room, nids)
  const children = new Map<number, Known>()
  for (const nid of nids) children.set(nid, found.get(nid)!)
  return children
}

/** Reads the spans around some events, and the one in which the live chain ends. */
export function* readSpans(parts: Parts, room: Room, near: Iterable<Known>): Task<void> {
  const places: Place[] = [{ chain: room.chain, index: room.nextIndex }]
  for (const known of near) {
    const place = placeOf(known)
    if (place) places.push(place)
  }
  for (let tries = 0; tries < spanTries; tries++) {
    const unknown = room.spans.unknown(places)
    if (unknown.length === 0) return
    const rows = yield* wait(around(parts.sql, room.shard, room.nid, unknown))
    room.spans.merge(rows)
    // A chain that was opened just now: its span is not committed yet.
    if (room.spans.unknown(places).length > 0) yield* wait(Bun.sleep(spanMs))
  }
  throw new Error(`the reading order of ${room.roomId} is not there`)
}

const placeOf = ({ chain, chainIndex: index }: Known): Place | undefined =>
  chain === null || index === null ? undefined : { chain, index }

/** prev_events that have no place in the graph. */
export function gapBefore({ prevEvents }: RoomEvent, prevs: readonly Known[]): string[] {
  if (prevs.length === prevEvents.length && !prevs.some(isOutlier)) return []
  const here = prevs.filter((prev) => !isOutlier(prev))
  const ids = new Set(here.map(({ event }) => event.eventId))
  return prevEvents.filter((id) => !ids.has(id))
}

/** Gives an event its place, if readers see it. True if it is live: new to them. */
export function placeEvent(
  parts: Parts,
  room: Room,
  known: Known,
  { gap, children, behind }: Surroundings,
  part: RoomPart,
): boolean {
  const { eventId } = known.event
  const late = behind.length > 0 || room.missing.has(eventId)
  if (late && placeHistory(parts, room, [{ known, cites: gap, behind }], children, part) > 0)
    return false
  // What says nothing is not read, but where something is missing before it, readers must know of that.
  if (known.flags !== 0 || (gap.length === 0 && isDummy(known.event))) return false
  known.chain = room.chain
  known.chainIndex = room.nextIndex++
  if (gap.length === 0) return true
  const live = room.spans.end(room.chain)
  if (!live) throw new Error(`${room.roomId} has no live span`)
  const opened = openGap(live, known.chainIndex, gap)
  putSpans(room, part, opened)
  room.orderKey = opened.at(-1)!.orderKey
  addMissing(room, part, gap, known.nid)
  return true
}

/** An event that comes into history. */
export type Arrival = {
  known: Known
  /** Those of its prev_events that are missing, or arrive with it. */
  cites: readonly string[]
  /** Placed events that rest on it though they do not cite it. */
  behind?: readonly number[]
  /** Where it goes directly before, whatever stands there. */
  before?: Place
  /** Nobody is to read it. */
  unread?: boolean
}

/** Where an event stands nothing may be missing any more that it named itself: the batches that hang on it. */
export function closeOwnGap(room: Room, part: RoomPart, known: Known): void {
  const { eventId } = known.event
  if (!room.missing.delete(eventId)) return
  part.missing.arrived.push(packEventId(eventId))
  const place = placeOf(known)
  if (place) passGap(room, part, place, eventId, [])
}

/** Before an insertion event batches may be missing, of which we know nothing: readers ask from the event itself on. */
export function openOwnGap(room: Room, part: RoomPart, known: Known): void {
  const place = placeOf(known)
  if (!place || room.missing.has(known.event.eventId)) return
  const { eventId } = known.event
  const put = (span: Span) => putSpans(room, part, [span])
  const span = room.spans.spans[splitBefore(room.spans, place, put)]!
  put({ ...span, gap: [...(span.gap ?? []), eventId] })
  addMissing(room, part, [eventId], known.nid)
}

/** Where what follows a placed event begins. The spans around the event must have been read. */
export function placeNext(room: Room, known: Known): Place {
  const { spans: list } = room
  const place = placeOf(known)
  const at = place ? list.find(place) : -1
  const span = list.spans[at]
  if (!place || !span) throw new Error(`${known.event.eventId} has no place that was read`)
  const isLive = span.chain === room.chain && span.to === null
  const last = isLive ? Infinity : (span.to ?? list.extent(span.chain)!.high)
  const next = list.spans[at + 1]
  if (place.index >= last && next)
    return { chain: next.chain, index: next.from ?? list.extent(next.chain)?.low ?? 0 }
  return { chain: place.chain, index: place.index + 1 }
}

/** The same, as the beginning of a span: before it, history is put in. */
export function placeBehind(room: Room, part: RoomPart, known: Known): Place {
  const next = placeNext(room, known)
  if (next.chain !== known.chain || next.index !== known.chainIndex! + 1) return next
  // Where the live chain ends, what is live goes on in a span that is still empty.
  if (next.chain === room.chain)
    room.spans.used(room.chain, Math.max(next.index, room.nextIndex - 1))
  splitBefore(room.spans, next, (each) => putSpans(room, part, [each]))
  return next
}

/**
 * Places events that others cite already, parents first: those that readers see get a place, and what
 * they lack becomes the gap. How many got one.
 */
export function placeHistory(
  parts: Parts,
  room: Room,
  arrivals: readonly Arrival[],
  children: ReadonlyMap<number, Known>,
  part: RoomPart,
): number {
  const citing = new Citing(arrivals)
  const late = lateEvents(room, arrivals, citing, children, part)
  // What was appended since the spans were read.
  if (room.nextIndex > 0 && room.spans.extent(room.chain))
    room.spans.used(room.chain, room.nextIndex - 1)
  const plan = placeLate(room.spans, late, () => shardOfRoom(parts, room).nextNid())
  part.spans.push(...plan.spans)
  // The span in which the live chain ends may have been cut.
  room.orderKey = room.spans.end(room.chain)?.orderKey ?? room.orderKey
  for (const { known } of arrivals) {
    const { eventId } = known.event
    const place = plan.places.get(eventId)
    if (place) {
      known.chain = place.chain
      known.chainIndex = place.index
      addMissing(room, part, citing.missing(eventId), known.nid)
    }
    if (!room.missing.delete(eventId)) continue
    part.missing.arrived.push(packEventId(eventId))
  }
  return plan.places.size
}

function lateEvents(
  room: Room,
  arrivals: readonly Arrival[],
  citing: Citing,
  children: ReadonlyMap<number, Known>,
  part: RoomPart,
): LateEvent[] {
  const byId = new Map<string, { children: Place[]; lateChildren: string[] }>()
  for (const arrival of arrivals)
    if (isShown(arrival)) byId.set(arrival.known.event.eventId, { children: [], lateChildren: [] })
  for (const { known, behind = [], before } of arrivals) {
    const { eventId } = known.event
    if (before) byId.get(eventId)?.children.push(before)
    for (const nid of behind) {
      const child = children.get(nid)
      const place = child && placeOf(child)
      if (place) byId.get(eventId)?.children.push(place)
    }
    if (byId.has(eventId))
      for (const id of citing.shown(eventId)) byId.get(id)!.lateChildren.push(eventId)
    for (const nid of room.missing.get(eventId) ?? []) {
      const child = children.get(nid)
      const place = child && placeOf(child)
      if (!place) continue
      if (byId.has(eventId)) byId.get(eventId)!.children.push(place)
      else {
        // Readers never see it: for them, what it cites comes before its child.
        for (const id of citing.shown(eventId)) byId.get(id)!.children.push(place)
        passGap(room, part, place, eventId, citing.of(eventId))
        addMissing(room, part, citing.missing(eventId), nid)
      }
    }
  }
  const late: LateEvent[] = []
  for (const { known } of arrivals) {
    const { eventId, depth } = known.event
    const found = byId.get(eventId)
    if (found) late.push({ eventId, depth, ...found, missing: citing.missing(eventId) })
  }
  return late
}

/** Rejected and soft-failed events are kept apart from what is read, and so is what says nothing. */
const isShown = ({ known: { flags, event }, unread }: Arrival): boolean =>
  (flags & 3) === 0 && !isDummy(event) && !unread

/** What arriving events cite, through those that readers do not see. */
class Citing {
  readonly #cites = new Map<string, readonly string[]>()
  readonly #shown = new Set<string>()

  /** Parents come before what cites them. */
  constructor(arrivals: readonly Arrival[]) {
    for (const arrival of arrivals) {
      const { known, cites } = arrival
      const { eventId } = known.event
      const through = (id: string) => (this.#shown.has(id) ? [id] : (this.#cites.get(id) ?? [id]))
      this.#cites.set(eventId, [...new Set(cites.flatMap(through))])
      if (isShown(arrival)) this.#shown.add(eventId)
    }
  }

  of(eventId: string): readonly string[] {
    return this.#cites.get(eventId) ?? []
  }

  shown(eventId: string): string[] {
    return this.of(eventId).filter((id) => this.#shown.has(id))
  }

  missing(eventId: string): string[] {
    return this.of(eventId).filter((id) => !this.#shown.has(id))
  }
}

/** In the gap before a place, what an event cites takes the event's own place. */
function passGap(
  room: Room,
  part: RoomPart,
  place: Place,
  eventId: string,
  cited: readonly string[],
): void {
  const span = room.spans.spans[room.spans.find(place)]
  if (!span?.gap?.includes(eventId)) return
  const gap = [...new Set([...span.gap.filter((id) => id !== eventId), ...cited])]
  putSpans(room, part, [{ ...span, gap: gap.length > 0 ? gap : null }])
}

function putSpans(room: Room, part: RoomPart, spans: readonly Span[]): void {
  for (const span of spans) room.spans.put(span)
  part.spans.push(...spans)
}

function addMissing(room: Room, part: RoomPart, ids: readonly string[], childNid: number): void {
  for (const id of ids) {
    const children = room.missing.get(id)
    if (children?.includes(childNid)) continue
    if (children) children.push(childNid)
    else room.missing.set(id, [childNid])
    part.missing.added.push({ eventId: packEventId(id), childNid })
  }
}
