import { authorize } from '#core/auth/authorize.ts'
import { mayPutIn } from '#core/content/msc2716.ts'
import { forbidden, invalidParam, notFound } from '#core/error.ts'
import type { AuthSubject, StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isEventIdOf } from '#core/ids.ts'
import { emptyPart, type RoomPart } from '#store/room/batch.ts'
import * as historyLinks from '#store/room/history-links.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import {
  type BuiltBatch,
  type BuiltEvent,
  buildBatch,
} from '#engine/room/batch-send/build-batch.ts'
import { findLinks, noteLink } from '#engine/room/batch-send/links.ts'
import { type BatchPlan, planBatch } from '#engine/room/batch-send/plan-batch.ts'
import { lookupIn, stateBefore } from '#engine/room/decide/decide.ts'
import type { Lane } from '#engine/room/lane.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import {
  type Arrival,
  placeBehind,
  placeHistory,
  placeNext,
  readSpans,
} from '#engine/room/decide/place.ts'
import { checkLocalRedaction } from '#engine/room/decide/redact.ts'
import {
  type FoundRedactions,
  keepRedactions,
  redactionsOf,
} from '#engine/room/decide/redactions.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { nothing, type Outcome, RoomReloaded } from '#engine/room/work.ts'
import type { BatchSent, BatchWish } from '#engine/worker/protocol.ts'

/**
 * MSC2716: a batch of history, directly behind an event and before all that followed it. It is committed
 * whole or not at all, is news to nobody, and changes neither the room's state nor what comes next.
 */
export class BatchSend extends Asked<BatchSent> {
  readonly bytes: number
  readonly #wish: BatchWish
  readonly #request: Uint8Array
  #room: Room | undefined
  #known: Known[] = []
  #sent: BatchSent | undefined

  constructor(answer: Answer<BatchSent>, wish: BatchWish) {
    super(answer)
    this.#wish = wish
    this.#request = Buffer.from(wish.request, 'hex')
    this.bytes = 2 * (wish.events.length + wish.stateAtStart.length) + 1_000
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const room = yield* lane.load()
    if (room?.kind !== 'joined') throw notFound('The room is not known')
    this.#room = room
    this.#known = []
    const before = yield* wait(
      historyLinks.answerTo(parts.sql, room.shard, room.nid, this.#request),
    )
    if (before !== undefined) {
      this.#sent = JSON.parse(before) as BatchSent
      return nothing(room)
    }
    yield* this.#check(parts, room)
    const plan = planBatch(room.version, this.#wish)
    const prevs = yield* this.#prevs(parts, room)
    const deepest = prevs.reduce((deep, each) =>
      each.event.depth > deep.event.depth ? each : deep,
    )
    const state = yield* stateBefore(parts, room, prevs)
    yield* readSpans(parts, room, [deepest])
    const depthOf = yield* depths(
      parts,
      room,
      deepest,
      plan.state.length + plan.batch.length + (plan.base ? 1 : 0),
    )
    const built = yield* buildBatch(parts, room, plan, { prevs, before: state, depthOf })
    const now = yield* requireSay(parts, room, built.batch[0]!.known.event)
    const redactions = yield* redactionsIn(parts, room, built.batch, now)
    if (room.stale) throw new RoomReloaded()
    // From here on nothing is yielded.
    return this.#put(parts, room, { plan, built, prevs, deepest, redactions })
  }

  *#check(parts: Parts, room: Room): Task<void> {
    const { sender, batchId } = this.#wish
    if (!mayPutIn(room.version, room.create, sender))
      throw forbidden(
        `In room version ${room.version.id} only the room's creator can put in history: other servers would not take it`,
      )
    if (batchId === undefined) return
    const links = yield* findLinks(parts, room, [batchId])
    if (![...links.values()].some(({ isInsertion }) => isInsertion))
      throw invalidParam('No insertion event corresponds to the given ?batch_id')
  }

  *#prevs(parts: Parts, room: Room): Task<Known[]> {
    const { prevEventIds } = this.#wish
    const found = yield* parts.events.byIds(room, prevEventIds)
    return prevEventIds.map((id) => {
      const known = found.get(id)
      if (!known || known.chain === null || known.flags !== 0)
        throw invalidParam(`prev_event ${id} does not exist, or is an outlier`)
      return known
    })
  }

  #put(
    parts: Parts,
    room: Room,
    {
      plan,
      built,
      prevs,
      deepest,
      redactions,
    }: {
      plan: BatchPlan
      built: BuiltBatch
      prevs: readonly Known[]
      deepest: Known
      redactions: ReadonlyMap<BuiltEvent, FoundRedactions>
    },
  ): Outcome {
    const part = emptyPart(room.shard, room.nid)
    const shown = built.base ? [...built.batch, built.base] : built.batch
    placeLine(parts, room, shown, deepest, part)
    const prevNids = new Map(
      [...built.state, ...built.batch].map(({ known }) => [known.event.eventId, known.nid]),
    )
    for (const { event, nid } of prevs) prevNids.set(event.eventId, nid)
    for (const each of [...built.state, ...shown]) {
      const { known, row } = each
      if (!row) continue
      known.snapshotNid = parts.states.save(
        room,
        shardOfRoom(parts, room),
        each.before,
        part,
        prevs.at(-1),
      )
      part.events.push({
        ...row,
        chain: known.chain,
        chainIndex: known.chainIndex,
        flags: 0,
        snapshotNid: known.snapshotNid,
        ingest: part.events.length + 1,
        prevNids: known.event.prevEvents.map((id) => prevNids.get(id)!),
      })
      if (known.stateKeyNid !== null) room.auth.add(known, each.auths, part)
      noteLink(room, known, part)
      const found = redactions.get(each)
      if (found) keepRedactions(room, part, known, found, true)
      room.uncommitted.set(known.event.eventId, known)
      parts.events.add(known)
      this.#known.push(known)
    }
    this.#sent = sentOf(plan, built)
    part.history.push({
      kind: 'answer',
      request: this.#request,
      answer: JSON.stringify(this.#sent),
      madeAt: parts.now(),
    })
    parts.counters.local += part.events.length
    room.revision++
    return { part, positions: 0, ingests: part.events.length }
  }

  override committed(committed: Parameters<Asked<BatchSent>['committed']>[0]): void {
    for (const known of this.#known) this.#room!.committed(known)
    super.committed(committed)
  }

  answerFor(): BatchSent {
    return this.#sent!
  }
}

/** Puts a line of events directly behind an event, before whatever was put there earlier. */
function placeLine(
  parts: Parts,
  room: Room,
  line: readonly BuiltEvent[],
  behind: Known,
  part: RoomPart,
): void {
  const before = placeBehind(room, part, behind)
  const arrivals = line.map(({ known }, index): Arrival => {
    const older = line[index - 1]
    const cites = older ? [older.known.event.eventId] : []
    return { known, cites, ...(index === line.length - 1 && { before }) }
  })
  placeHistory(parts, room, arrivals, new Map(), part)
}

/**
 * Depths for so many events behind one: each its own, right below what follows, where there is room, so
 * that servers that order by depth read them in order; else all as deep as what follows it directly.
 */
function* depths(
  parts: Parts,
  room: Room,
  behind: Known,
  count: number,
): Task<(index: number) => number> {
  const least = behind.event.depth + 1
  const next = placeNext(room, behind)
  const below =
    next && (yield* wait(historyLinks.depthFrom(parts.sql, room.shard, next.chain, next.index)))
  const lowest = below === undefined ? least : below - count
  return lowest >= least ? (index) => lowest + index : () => least
}

/**
 * The events were judged by the state of back then. Whoever has lost their say in the room since has none in
 * its past either; what they are asked is the room's state by now.
 */
function* requireSay(parts: Parts, room: Room, event: RoomEvent): Task<StateLookup> {
  const { version, type, sender, content } = event
  const subject: AuthSubject = { version, type, stateKey: undefined, sender, content }
  const numbers = yield* numbersFor(parts.interner, [subject])
  const now = yield* lookupIn(parts, room, room.state, keysAsked(subject), numbers)
  const verdict = authorize(event, now, () => true)
  if (!verdict.allowed) throw forbidden(verdict.reason)
  return now
}

/**
 * Which redactions among them count, and whether what they redact is known. What was there before is redacted
 * by nobody who could not do so by an event of today.
 */
function* redactionsIn(
  parts: Parts,
  room: Room,
  batch: readonly BuiltEvent[],
  now: StateLookup,
): Task<Map<BuiltEvent, FoundRedactions>> {
  const found = new Map<BuiltEvent, FoundRedactions>()
  const own = new Set(batch.map(idOf))
  const redacting = batch.filter(({ known }) => known.event.redacts !== undefined)
  const targets = redacting.map(({ known }) => known.event.redacts!)
  // They are in memory then, all at once.
  yield* parts.events.byIds(
    room,
    targets.filter((id) => !own.has(id) && isEventIdOf(room.version, id)),
  )
  for (const each of redacting) {
    const target = each.known.event.redacts!
    // Both are of this server.
    if (own.has(target)) found.set(each, { of: [], own: { target, applied: true } })
    else {
      yield* checkLocalRedaction(parts, room, each.known.event.sender, target, now)
      found.set(each, yield* redactionsOf(parts, room, each.known.event, each.before))
    }
  }
  return found
}

const idOf = ({ known }: BuiltEvent) => known.event.eventId

function sentOf({ nextBatchId }: BatchPlan, { state, batch, base }: BuiltBatch): BatchSent {
  return {
    stateEventIds: state.map(idOf),
    eventIds: batch.slice(1, -1).map(idOf),
    nextBatchId,
    insertionEventId: idOf(batch[0]!),
    batchEventId: idOf(batch.at(-1)!),
    ...(base && { baseInsertionEventId: idOf(base) }),
  }
}
