import type { RoomEvent } from '#core/event/pdu.ts'
import {
  emptyPart,
  eventFlags,
  type LocalTxnRow,
  type NewEvent,
  type Placement,
  type RoomPart,
} from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { type Changes, changesTo, countServers, destinations } from '#engine/room/decide/changes.ts'
import { noteLink } from '#engine/room/batch-send/links.ts'
import { judgementOf } from '#engine/room/decide/decide.ts'
import { type Merged, Merging } from '#engine/room/decide/merging.ts'
import type { Parts } from '#engine/room/parts.ts'
import { shardOfRoom } from '#engine/room/parts.ts'
import {
  gapBefore,
  placeEvent,
  surroundingsAtEnd,
  surroundingsOf,
  type Surroundings,
} from '#engine/room/decide/place.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import {
  type FoundRedactions,
  keepRedactions,
  redactedByNone,
  redactionsOf,
} from '#engine/room/decide/redactions.ts'
import type { Task } from '#engine/room/task.ts'
import { type PushFacts, pushFactsFor } from '#engine/room/decide/push.ts'
import { type Outcome, RoomReloaded } from '#engine/room/work.ts'
import type { Verdict } from '#core/verdict.ts'

/** An event that was judged by its own past: what is left is the room's present. */
export type Judged = {
  event: RoomEvent
  /** The JSON that is persisted and relayed. */
  text: string
  prevs: readonly Known[]
  /** Numbers of events that no longer are extremities: what it cites, and what lies behind. */
  covers?: readonly number[]
  auths: ReadonlyMap<string, Known>
  before: StateMap
  numbers: Interned
  verdict: Verdict
  /** An event of ours, or one that we relay: it goes to the servers of the room. */
  relayed: boolean
  /** An event of ours, whether it is relayed or not. */
  isOwn?: boolean
  /** Why it is soft-failed, whatever the current state says of it. */
  softFailed?: string
  inboxIds: readonly number[]
  /** Placed events that it comes before: it is history behind a gap, and no news. */
  behind?: readonly number[]
  /** v1–v2: another server chose its ID, which was claimed for this room. */
  claimed?: boolean
  /** The event was known beside the graph, and now takes its place in it. */
  outlier?: Known
  txn?: LocalTxnRow
  internal?: string
}

/** An event applied to the room in memory, and what is to be persisted of it. */
export type Applied = { known: Known; outcome: Outcome; changes: Changes }

/** A new event with numbers, judged by checks 4 and 5. */
export function knownOf(parts: Parts, room: Room, judged: Judged): Known {
  const { event, numbers, auths, verdict } = judged
  return {
    nid: judged.outlier?.nid ?? shardOfRoom(parts, room).nextNid(),
    event,
    typeNid: numbers.type(event.type),
    stateKeyNid: event.stateKey === undefined ? null : numbers.stateKey(event.type, event.stateKey),
    senderNid: numbers.user(event.sender),
    authNids: event.authEvents.flatMap((id) => auths.get(id)?.nid ?? []),
    bytes: 500 + 3 * judged.text.length,
    flags: verdict.allowed ? 0 : eventFlags.rejected,
    snapshotNid: null,
    chain: null,
    chainIndex: null,
    authOrder: judged.outlier?.authOrder ?? null,
  }
}

/** Merges a judged event into the room, and applies it. */
export function* applyEvent(parts: Parts, room: Room, judged: Judged): Task<Applied> {
  for (;;) {
    const applied = yield* applyAt(parts, room, judged, undefined)
    if (applied) return applied
  }
}

/**
 * The same for an event that was built on a revision of the room: undefined if the room has moved on,
 * and the event is to be built anew.
 */
export function* applyAt(
  parts: Parts,
  room: Room,
  judged: Judged,
  builtOn: number | undefined,
): Task<Applied | undefined> {
  const known = knownOf(parts, room, judged)
  const { event, behind } = judged
  const gap = gapBefore(event, judged.prevs)
  const merging = new Merging(parts, room, known, {
    before: judged.before,
    numbers: judged.numbers,
    behindGap: gap.length > 0,
    isHistory: behind !== undefined,
    prevNids: judged.covers ?? judged.prevs.map(({ nid }) => nid),
    isLocal: builtOn !== undefined,
    softFailed: judged.softFailed,
  })
  try {
    for (;;) {
      const merged = merging.plain() ?? (yield* merging.run())
      const changes = yield* changesTo(parts, room, merged.state, known, judged.numbers)
      const set = judged.relayed ? yield* destinations(parts, room, changes) : null
      // Where nothing is to be asked, nothing is waited for.
      const surroundings =
        surroundingsAtEnd(room, event, gap, behind) ??
        (yield* surroundingsOf(parts, room, event, gap, behind))
      const redactions =
        redactedByNone(room, event) ?? (yield* redactionsOf(parts, room, event, judged.before))
      const push = yield* pushFactsFor(parts, room, event, judged)
      if (room.stale) throw new RoomReloaded()
      if (builtOn !== undefined && room.revision !== builtOn) return undefined
      // From here on nothing is yielded.
      if (room.revision === merged.revision)
        return apply(parts, room, judged, {
          known,
          merged,
          changes,
          destinationSet: set,
          surroundings,
          redactions,
          push,
        })
      merging.overtaken()
    }
  } finally {
    merging.end()
  }
}

type Decision = {
  known: Known
  merged: Merged
  changes: Changes
  destinationSet: number | null
  surroundings: Surroundings
  redactions: FoundRedactions
  push: PushFacts
}

function apply(
  parts: Parts,
  room: Room,
  judged: Judged,
  { known, merged, changes, destinationSet, surroundings, redactions, push }: Decision,
): Applied {
  const { flags, reason } = judgementOf(judged.verdict, merged.softFailed)
  known.flags = flags
  const part = emptyPart(room.shard, room.nid)
  const live = placeEvent(parts, room, known, surroundings, part)
  known.snapshotNid = parts.states.save(
    room,
    shardOfRoom(parts, room),
    judged.before,
    part,
    judged.prevs.at(-1),
  )
  const placement: Placement = {
    chain: known.chain,
    chainIndex: known.chainIndex,
    position: live ? 1 : null,
    ingest: 1,
    flags,
    snapshotNid: known.snapshotNid,
    destinationSet,
    pushFlags: live ? push.flags : 0,
    prevNids: judged.prevs.map(({ nid }) => nid),
  }
  // Whether it was rejected may be seen in another light now.
  if (judged.outlier) room.resolutions.clear()
  if (judged.outlier)
    part.revised.push({ ...placement, eventNid: known.nid, authNids: known.authNids })
  else part.events.push({ ...placement, ...rowOf(known, judged, reason) })
  if (live) for (const userNid of push.mentioned) part.mentions.push({ position: 1, userNid })
  moveExtremities(room, merged, part)
  // They may be more than a call takes arguments.
  for (const change of changes.state) part.state.push(change)
  keepRedactions(room, part, known, redactions, flags === 0)
  noteLink(room, known, part)
  countServers(room, changes)
  if (known.stateKeyNid !== null && known.authOrder === null)
    room.auth.add(known, authsOf(judged), part)
  if (judged.txn && flags === 0) part.txns.push({ ...judged.txn, eventNid: known.nid })
  part.inbox.push(...judged.inboxIds)
  room.state = merged.state
  room.revision++
  room.uncommitted.set(known.event.eventId, known)
  parts.events.add(known)
  count(parts, known, judged)
  const positions = live || changes.state.length > 0 ? 1 : 0
  return { known, changes, outcome: { part, positions, ingests: 1 } }
}

/** Every event that it cites; in v12+ the create event is none. */
const authsOf = ({ event, auths }: Judged) => event.authEvents.map((id) => auths.get(id))

/** What never changes of an event once it is stored. */
const rowOf = (
  known: Known,
  judged: Judged,
  rejection: string | null,
): Omit<NewEvent, keyof Placement> => ({
  eventNid: known.nid,
  eventId: packEventId(known.event.eventId),
  typeNid: known.typeNid,
  stateKeyNid: known.stateKeyNid,
  senderNid: known.senderNid,
  depth: known.event.depth,
  originServerTs: known.event.originServerTs,
  authNids: known.authNids,
  json: judged.text,
  internal: judged.internal ?? null,
  rejection,
  claimed: judged.claimed ?? false,
})

function moveExtremities(room: Room, { extremities }: Merged, part: RoomPart): void {
  if (extremities === room.extremities) return
  for (const nid of extremities.keys())
    if (!room.extremities.has(nid)) part.extremities.added.push(nid)
  for (const nid of room.extremities.keys())
    if (!extremities.has(nid)) part.extremities.removed.push(nid)
  room.extremities = extremities
}

function count({ counters }: Parts, known: Known, { txn, relayed, isOwn }: Judged): void {
  if (txn || relayed || isOwn) counters.local++
  else if (isRejected(known)) counters.rejected++
  else if (known.flags !== 0) counters.softFailed++
  else counters.accepted++
}
