import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { createOfRoomId } from '#core/ids.ts'
import { emptyPart, eventFlags, type RoomPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import { StateMap } from '#store/room/state-map.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { noteLink } from '#engine/room/batch-send/links.ts'
import {
  leadIns,
  linksOfPage,
  openInsertions,
  type PageLinks,
} from '#engine/room/batch-send/past-links.ts'
import { after, judgeBefore, stateAfter, unsigned } from '#engine/room/decide/decide.ts'
import type { Lane } from '#engine/room/lane.ts'
import { numbersFor } from '#engine/room/numbers.ts'
import { outlierOf } from '#engine/room/member/outside.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import {
  type Arrival,
  childrenOf,
  closeOwnGap,
  openOwnGap,
  placeBehind,
  placeHistory,
  readSpans,
} from '#engine/room/decide/place.ts'
import {
  type FoundRedactions,
  keepRedactions,
  redactionsOf,
} from '#engine/room/decide/redactions.ts'
import { resolveStates } from '#engine/room/decide/resolve.ts'
import { isOutlier, type Known, type Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { type Committed, nothing, type Outcome, RoomReloaded } from '#engine/room/work.ts'

/** An event of a page of history. */
export type PastEvent = { event: RoomEvent; rejection: string | undefined }

/** What is known of an event of the page, once it is judged. */
type Judged = { nid: number; rejected: boolean; before: StateMap; after: StateMap }

/** A page of history on its way into a room: parents first. */
export type Page = {
  events: readonly PastEvent[]
  /** The state before events whose prev_events are not all there. */
  states: ReadonlyMap<string, StateMap>
  /** MSC2716: an insertion event that nothing here leads to: it goes directly behind what it follows. */
  base?: string
  /** The other server gave as much as it was asked for: there may be more. */
  isCut: boolean
  /** Filled event by event. */
  judged: Map<string, Judged>
}

/**
 * One event of history: judged by what it cites and by the state before it (checks 4 and 5; the sixth
 * is for what is new), and stored beside the graph until the page is placed.
 */
export class JudgePast extends Asked<null> {
  override readonly local = false
  readonly bytes: number
  readonly #page: Page
  readonly #past: PastEvent
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<null>, page: Page, past: PastEvent) {
    super(answer)
    this.#page = page
    this.#past = past
    this.bytes = 2_000
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts, roomId } = lane
    const { event, rejection } = this.#past
    const room = yield* lane.load()
    if (!room) throw new Error(`${roomId} is gone`)
    this.#room = room
    this.#known = undefined
    const found = yield* parts.events.byIds(room, [
      event.eventId,
      ...event.prevEvents,
      ...event.authEvents,
    ])
    const there = found.get(event.eventId)
    if (there && !isOutlier(there)) return nothing(room)
    const before = yield* stateBeforePast(parts, room, event, this.#page, found)
    // Without the state, or an auth event, nobody can tell.
    if (!before || lacksAuth(room, event, found)) return nothing(room)
    const numbers = yield* numbersFor(parts.interner, [event])
    const own = unsigned(rejection)
    const verdict = own.allowed
      ? yield* judgeBefore(parts, room, event, { before, auths: found, numbers })
      : own
    if (room.stale) throw new RoomReloaded()
    const rejected = !verdict.allowed
    const part = emptyPart(room.shard, room.nid)
    let known = there
    if (!known) {
      const made = outlierOf(parts, room, event, {
        numbers,
        text: canonicalEvent(event.version, event.pdu)!,
        authNids: event.authEvents.flatMap((id) => found.get(id)?.nid ?? []),
        ...(!verdict.allowed && { rejection: verdict.reason }),
      })
      known = made.known
      part.events.push({ ...made.row, claimed: event.version.eventFormat === 'named' })
      if (known.stateKeyNid !== null)
        room.auth.add(
          known,
          event.authEvents.map((id) => found.get(id)),
          part,
        )
      room.uncommitted.set(event.eventId, known)
      parts.events.add(known)
      this.#known = known
    }
    const changes = known.stateKeyNid !== null && !rejected
    this.#page.judged.set(event.eventId, {
      nid: known.nid,
      rejected,
      before,
      after: changes ? after(before, { ...known, flags: 0 }) : before,
    })
    return { part, positions: 0, ingests: part.events.length }
  }

  override committed(committed: Committed): void {
    if (this.#known) this.#room!.committed(this.#known)
    super.committed(committed)
  }

  answerFor(): null {
    return null
  }
}

/** What the states after its prev_events resolve to; where some of these lack, what was fetched. */
function* stateBeforePast(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  { states, judged }: Page,
  found: ReadonlyMap<string, Known>,
): Task<StateMap | undefined> {
  const fetched = states.get(event.eventId)
  if (fetched) return fetched
  const afters: StateMap[] = []
  for (const id of event.prevEvents) {
    const known = found.get(id)
    const own = judged.get(id)
    if (own) afters.push(own.after)
    else if (known && !isOutlier(known)) afters.push(yield* stateAfter(parts, room, known))
    else return undefined
  }
  if (afters.length > 0) return yield* resolveStates(parts, room, afters)
  return event.eventId === room.create?.eventId ? StateMap.empty : undefined
}

function lacksAuth(room: Room, event: RoomEvent, found: ReadonlyMap<string, Known>): boolean {
  const createId = room.version.createEventIsRoomId ? createOfRoomId(room.roomId) : undefined
  return event.authEvents.some((id) => id !== createId && !found.has(id))
}

/** A page that was judged takes its place in the reading order, all of it at once. */
export class PlacePast extends Asked<number> {
  override readonly local = false
  readonly bytes: number
  readonly #page: Page
  #room: Room | undefined
  #known: Known[] = []
  #shown = 0

  constructor(answer: Answer<number>, page: Page) {
    super(answer)
    this.#page = page
    this.bytes = 200 * page.judged.size
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts, roomId } = lane
    const { judged, events } = this.#page
    const room = yield* lane.load()
    if (!room) throw new Error(`${roomId} is gone`)
    this.#room = room
    this.#known = []
    this.#shown = 0
    const cited = events.flatMap(({ event }) => [event.eventId, ...event.prevEvents])
    const found = yield* parts.events.byIds(room, cited)
    const pdus = events.map(({ event }) => event)
    const links = yield* linksOfPage(parts, room, pdus)
    const children = yield* childrenOf(
      parts,
      room,
      judged.keys(),
      [...links.behind.values()].flat(),
    )
    const base = this.#baseIn(found)
    const redactions = new Map<string, FoundRedactions>()
    for (const { event } of events) {
      const own = judged.get(event.eventId)
      if (own) redactions.set(event.eventId, yield* redactionsOf(parts, room, event, own.before))
    }
    yield* readSpans(parts, room, base ? [...children.values(), base.behind] : children.values())
    if (room.stale) throw new RoomReloaded()
    // From here on nothing is yielded.
    const starts = new Set([...links.behind.keys(), ...(base ? [base.eventId] : [])])
    const arriving = reachable(room, pdus, { starts, links }, (id) => {
      const known = found.get(id)
      return known !== undefined && isOutlier(known) && judged.has(id)
    })
    if (arriving.size === 0) return nothing(room)
    const part = emptyPart(room.shard, room.nid)
    const unread = leadIns(room, pdus, children)
    const arrivals: Arrival[] = []
    for (const { event } of events) {
      const { eventId } = event
      if (!arriving.has(eventId)) continue
      const known = found.get(eventId)!
      const isMissing = (id: string) => {
        const prev = found.get(id)
        return arriving.has(id) || !prev || isOutlier(prev)
      }
      const hanging = (links.older.get(eventId) ?? []).filter((id) => arriving.has(id))
      arrivals.push({
        known,
        cites: [...event.prevEvents.filter(isMissing), ...hanging],
        unread: unread.has(eventId),
        ...(links.behind.has(eventId) && { behind: links.behind.get(eventId)! }),
        ...(base?.eventId === eventId && { before: placeBehind(room, part, base.behind) }),
      })
      for (const nid of links.behind.get(eventId) ?? []) closeOwnGap(room, part, children.get(nid)!)
    }
    if (base && arriving.has(base.eventId))
      part.history.push({ kind: 'arrived', insertionId: packEventId(base.eventId) })
    room.resolutions.clear()
    for (const { known } of arrivals)
      known.flags = judged.get(known.event.eventId)!.rejected ? eventFlags.rejected : 0
    this.#shown = placeHistory(parts, room, arrivals, children, part)
    if (this.#page.isCut)
      for (const known of openInsertions(
        room,
        arrivals.map((arrival) => arrival.known),
        links,
      ))
        openOwnGap(room, part, known)
    for (const { known } of arrivals) {
      this.#revise(parts, room, known, found, part)
      const own = redactions.get(known.event.eventId)!
      keepRedactions(room, part, known, own, known.flags === 0)
      noteLink(room, known, part)
    }
    // What waits for one of them may be decided on top of it, before it is committed.
    for (const id of arriving) lane.inbound.arrived(id)
    room.revision++
    return { part, positions: 0, ingests: part.revised.length }
  }

  /** The insertion event that the page begins with, and the deepest of what it follows. */
  #baseIn(found: ReadonlyMap<string, Known>): { eventId: string; behind: Known } | undefined {
    const { base, events } = this.#page
    const event =
      base === undefined ? undefined : events.find((each) => each.event.eventId === base)
    if (!event) return undefined
    const prevs = event.event.prevEvents.flatMap((id) => found.get(id) ?? [])
    const placed = prevs.filter(({ chain }) => chain !== null)
    const [behind] = placed.sort((a, b) => b.event.depth - a.event.depth)
    return behind && { eventId: event.event.eventId, behind }
  }

  #revise(
    parts: Parts,
    room: Room,
    known: Known,
    found: ReadonlyMap<string, Known>,
    part: RoomPart,
  ): void {
    const { event, nid: eventNid, chain, chainIndex, flags } = known
    const { before } = this.#page.judged.get(event.eventId)!
    known.snapshotNid = parts.states.save(room, shardOfRoom(parts, room), before, part)
    part.revised.push({
      eventNid,
      chain,
      chainIndex,
      position: null,
      ingest: part.revised.length + 1,
      flags,
      snapshotNid: known.snapshotNid,
      destinationSet: null,
      pushFlags: 0,
      prevNids: event.prevEvents.flatMap((id) => found.get(id)?.nid ?? []),
    })
    room.uncommitted.set(event.eventId, known)
    parts.events.add(known)
    this.#known.push(known)
  }

  override committed(committed: Committed): void {
    for (const known of this.#known) this.#room!.committed(known)
    super.committed(committed)
  }

  answerFor(): number {
    return this.#shown
  }
}

/** Those that something missing leads to: what nothing placed descends from has no place. */
function reachable(
  room: Room,
  events: readonly RoomEvent[],
  { starts, links }: { starts: ReadonlySet<string>; links: PageLinks },
  arrives: (id: string) => boolean,
): Set<string> {
  const byId = new Map(events.map((event) => [event.eventId, event]))
  const isStart = (id: string) => room.missing.has(id) || starts.has(id)
  const reached = new Set([...byId.keys()].filter((id) => arrives(id) && isStart(id)))
  // A set is walked on while it grows.
  for (const id of reached)
    for (const older of [...byId.get(id)!.prevEvents, ...(links.older.get(id) ?? [])])
      if (byId.has(older) && arrives(older)) reached.add(older)
  return reached
}
