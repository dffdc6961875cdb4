import { authorize } from '#core/auth/authorize.ts'
import type { PolicyServer } from '#core/content/m.room.policy.ts'
import { conflict, forbidden } from '#core/error.ts'
import { type AuthSubject, selectAuthEvents, type StateLookup } from '#core/event/auth-events.ts'
import { refusalOf } from '#core/event/build.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { allow } from '#core/verdict.ts'
import type { RoomPart } from '#store/room/batch.ts'
import { packEventId } from '#store/room/event-id.ts'
import * as importChains from '#store/room/import-chains.ts'
import type { Interned } from '#store/room/intern.ts'
import { publish } from '#store/room/plan-spans.ts'
import type { Extent, Place } from '#store/room/span-list.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { policyOf, requirePolicySignature } from '#engine/room/policy/policy.ts'
import { applyAt, type Judged } from '#engine/room/decide/apply.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { buildOn } from '#engine/room/import/build.ts'
import { depthBehind, followingOf, hasOthers } from '#engine/room/import/depth.ts'
import type { Staging } from '#engine/room/import/staging.ts'
import type { Lane } from '#engine/room/lane.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import { type Parts, shardOfRoom } from '#engine/room/parts.ts'
import { readSpans } from '#engine/room/decide/place.ts'
import { resolveStates } from '#engine/room/decide/resolve.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { requireFewEnds } from '#engine/room/import/open.ts'
import { citedBy, txnOf } from '#engine/room/local/send.ts'
import { type Task, wait } from '#engine/room/task.ts'
import { type Committed, type Outcome, RoomReloaded } from '#engine/room/work.ts'
import type { LocalTxn } from '#engine/worker/protocol.ts'

/** What ties an import into its room, and what ends its chain for other servers. */
export const mergeType = 'org.laneway.import.merge'
export const boundaryType = 'org.laneway.import.boundary'

/** By this a commit that was broken off finds what it had sent. */
export const importTxn = (userId: string, sessionId: string, what: string): LocalTxn => ({
  userId,
  deviceId: 'import',
  path: `import/${what}`,
  txnId: sessionId,
})

type Building = {
  type: string
  prevs: readonly Known[]
  /** Numbers of what is no extremity any more. */
  covers: readonly number[]
  before: StateMap
  lookup: StateLookup
  depth?: number
}

/** An event as it was built on the room. */
type Draft = Pick<Building, 'prevs' | 'covers' | 'before'> & {
  room: Room
  event: RoomEvent
  text: string
  auths: readonly RoomEvent[]
}

/**
 * By type, what the room's policy server is asked to sign: it is put in as it was built then, wherever the
 * room has gone meanwhile.
 */
export type Drafts = Map<string, Draft>

export type Published = { mergeEventId: string; boundaryEventId: string | undefined }

/** How often a room may move before the import is told to try again. */
const patience = 20

/**
 * Makes an import readable: one commit, however long its chain. A merge event of its room's own ties the
 * chain to the live history, so that the room goes on with one extremity.
 */
export class Publish extends Asked<Published> {
  readonly bytes = 5_000
  readonly #staging: Staging
  readonly #leader: string
  readonly #drafts: Drafts
  #room: Room | undefined
  #known: Known[] = []
  #published: Published | undefined

  constructor(answer: Answer<Published>, staging: Staging, leader: string, drafts: Drafts) {
    super(answer)
    this.#staging = staging
    this.#leader = leader
    this.#drafts = drafts
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (!room) throw new Error(`${lane.roomId} is gone`)
    // Built on what was not committed after all.
    if ([...this.#drafts.values()].some((draft) => draft.room !== room)) this.#drafts.clear()
    for (let tries = 0; tries < patience; tries++) {
      const outcome = yield* this.#once(lane.parts, room)
      if (outcome) return outcome
    }
    throw conflict('The room changes too fast for the import to be tied into it: try again')
  }

  *#once(parts: Parts, room: Room): Task<Outcome | undefined> {
    const staging = this.#staging
    const tip = (yield* parts.events.byNids(room, [staging.tip!.nid])).get(staging.tip!.nid)!
    requireFewEnds(room)
    const { revision } = room
    const cited = citedBy(room)
    const at = yield* placeFor(parts, room, staging)
    // Other servers are to learn of the chain by its end alone: all else would be shown as new there.
    const isApart = this.#drafts.has(mergeType)
      ? this.#drafts.has(boundaryType)
      : at !== undefined || hasOthers(parts, room)
    // They do not know what leads to that end: what was the newest has to be cited beside it.
    const isLine = isUnmoved(room, staging) && !isApart
    const before = isLine ? staging.state : yield* stateWith(parts, room, staging)
    const redactions = yield* wait(
      importChains
        .redactionsIn(parts.sql, room.shard, staging.row.chain, false)
        .then((list) => list),
    )
    const extent = yield* wait(importChains.extentOf(parts.sql, room.shard, staging.row.chain))
    if (room.stale) throw new RoomReloaded()
    if (room.revision !== revision) return undefined

    const { numbers, lookup } = yield* this.#authority(parts, room, before)
    const policy = yield* policyOf(parts, room, numbers)
    if (room.stale) throw new RoomReloaded()
    if (room.revision !== revision) return undefined
    const draft = (wish: Omit<Building, 'lookup' | 'before'>) =>
      this.#draft(parts, room, policy, { ...wish, lookup, before })
    // As deep as what is before it, that other servers ask for both before what is read before them.
    const depth = at ? at.depth - (staging.row.dense ? 1 : 0) : tip.event.depth + 1
    const boundary = isApart
      ? draft({ type: boundaryType, prevs: [tip], covers: [], depth })
      : undefined
    const end = boundary && this.#boundaryOf(parts, room, tip, boundary, numbers)
    const last = end?.known ?? tip
    const covered = isLine ? [...room.extremities.values()].map(({ known }) => known) : cited
    const merge = draft({
      type: mergeType,
      prevs: isLine ? [last] : [...cited, last],
      covers: covered.map(({ nid }) => nid),
    })
    const { event, text, auths } = merge
    // The end has another number each time.
    const prevs = merge.prevs.map((prev) =>
      prev.event.eventId === last.event.eventId ? last : prev,
    )
    const judged: Judged = {
      event,
      text,
      prevs,
      covers: merge.covers.concat(prevs.map(({ nid }) => nid)),
      auths: knownAuths(parts, room, auths, merge.before, numbers),
      before: merge.before,
      numbers,
      verdict: allow,
      relayed: true,
      inboxIds: [],
      ...txnOf(importTxn(this.#leader, staging.row.session_id, 'merge'), parts.now()),
    }
    const applied = yield* applyAt(parts, room, judged, revision)
    if (!applied) return undefined
    const { known, outcome } = applied
    if (end) outcome.part.events.unshift(end.row)
    // What is outside of the chain is taken back from now on.
    for (const { target_id: targetId, redaction_nid: redactionNid } of redactions)
      outcome.part.redactions.push({ targetId, redactionNid, applied: true })
    open(room, staging, { place: at?.place, known, extent: extent! }, outcome.part)
    this.#room = room
    this.#known = [known]
    this.#published = {
      mergeEventId: event.eventId,
      boundaryEventId: boundary?.event.eventId,
    }
    return { ...outcome, ingests: outcome.ingests + (end ? 1 : 0) }
  }

  *#authority(parts: Parts, room: Room, before: StateMap) {
    const subjects = [mergeType, boundaryType].map((type) => this.#subject(room, type))
    const numbers = yield* numbersFor(parts.interner, subjects)
    const lookup = yield* lookupIn(parts, room, before, keysAsked(subjects[0]!), numbers)
    return { numbers, lookup }
  }

  #subject(room: Room, type: string): AuthSubject {
    return { version: room.version, type, stateKey: undefined, sender: this.#leader, content: {} }
  }

  /** An event on the room as it is; or as it was, if a policy server was asked to sign it. */
  #draft(parts: Parts, room: Room, policy: PolicyServer | undefined, wish: Building): Draft {
    const draft = this.#drafts.get(wish.type) ?? this.#build(parts, room, wish)
    const verdict = authorize(draft.event, wish.lookup, () => true)
    if (!verdict.allowed) throw forbidden(verdict.reason)
    if (policy) this.#drafts.set(wish.type, draft)
    requirePolicySignature(draft.event, policy)
    return draft
  }

  #build(
    parts: Parts,
    room: Room,
    { type, prevs, covers, before, lookup, depth }: Building,
  ): Draft {
    const content = { session: this.#staging.row.session_id, source: this.#staging.row.source }
    const auths = selectAuthEvents(this.#subject(room, type), lookup)
    const events = prevs.map(({ event }) => event)
    const subject = { ...this.#subject(room, type), content }
    const built = buildOn(parts, room, subject, {
      prevs: events,
      auths,
      depth: depth ?? depthBehind(parts, room, prevs, true),
      ts: parts.now(),
    })
    if (built.outcome !== 'built') throw refusalOf(built)
    return { room, event: built.event, text: built.text, auths, prevs, covers, before }
  }

  /** The event behind the chain: beside the reading order, so that it stays where the chain is undone. */
  #boundaryOf(
    parts: Parts,
    room: Room,
    tip: Known,
    { event, text, auths, before }: Draft,
    numbers: Interned,
  ) {
    const authNids = auths.map(({ type, stateKey }) =>
      before.get(numbers.stateKey(type, stateKey!))!,
    )
    const known: Known = {
      nid: shardOfRoom(parts, room).nextNid(),
      event,
      typeNid: numbers.type(event.type),
      stateKeyNid: null,
      senderNid: numbers.user(event.sender),
      authNids,
      bytes: 500 + 3 * text.length,
      flags: 0,
      snapshotNid: this.#staging.snapshot.nid,
      chain: null,
      chainIndex: null,
      authOrder: null,
    }
    const row = {
      eventNid: known.nid,
      eventId: packEventId(event.eventId),
      typeNid: known.typeNid,
      stateKeyNid: null,
      senderNid: known.senderNid,
      depth: event.depth,
      originServerTs: event.originServerTs,
      authNids,
      json: text,
      internal: null,
      rejection: null,
      claimed: false,
      chain: null,
      chainIndex: null,
      position: null,
      ingest: 2,
      flags: 0,
      snapshotNid: known.snapshotNid,
      destinationSet: null,
      pushFlags: 0,
      prevNids: [tip.nid],
    }
    return { known, row }
  }

  override committed(committed: Committed): void {
    for (const known of this.#known) this.#room!.committed(known)
    super.committed(committed)
  }

  answerFor(): Published {
    return this.#published!
  }
}

/** Nothing came to the room since the session was opened. */
const isUnmoved = (room: Room, { row }: Staging): boolean =>
  room.extremities.size === row.anchors.length &&
  row.anchors.every((nid) => room.extremities.has(nid))

/**
 * The state of the room together with the chain: it must be what the room has now, but for those who
 * speak in the chain.
 */
function* stateWith(parts: Parts, room: Room, staging: Staging): Task<StateMap> {
  // Memberships that only the chain has are what a resolution would come to.
  const isStill = isUnmoved(room, staging)
  if (isStill && room.state.diff(staging.state).every(({ old }) => old === undefined))
    return staging.state
  const tips = [...room.extremities.values()].map(({ after }) => after)
  const resolved = yield* resolveStates(parts, room, [...tips, staging.state])
  const speakers = yield* wait(
    parts.interner.intern({
      stateKeys: [...staging.people.keys()].map((user) => ['m.room.member', user] as const),
    }),
  )
  const own = new Set(
    [...staging.people.keys()].map((user) => speakers.stateKey('m.room.member', user)),
  )
  const other = room.state.diff(resolved).find(({ key }) => !own.has(key))
  if (other)
    throw conflict(
      'The room has changed so that the import would change its state: abort it, and import anew',
    )
  return resolved
}

/** Where it is read: directly before this place; undefined: after all that is there. */
function* placeFor(
  parts: Parts,
  room: Room,
  { wish, row }: Staging,
): Task<{ place: Place; depth: number } | undefined> {
  const next = yield* followingOf(parts, room, wish.position, row.first_ts ?? 0)
  if (!next) {
    yield* readSpans(parts, room, [])
    return undefined
  }
  const known = (yield* parts.events.byNids(room, [next.event_nid])).get(next.event_nid)!
  yield* readSpans(parts, room, [known])
  return { place: { chain: next.chain, index: next.chain_index }, depth: next.depth }
}

/** Puts the chain among the spans of the room; nothing is yielded here. */
function open(
  room: Room,
  { row }: Staging,
  { place, known, extent }: { place: Place | undefined; known: Known; extent: Extent },
  part: RoomPart,
): void {
  const live = room.spans.end(room.chain)
  if (!live) throw new Error(`${room.roomId} has no live span`)
  if (room.nextIndex > 0) room.spans.used(room.chain, room.nextIndex - 1)
  // The merge event is the first that is read behind what is imported at the end.
  const nextIndex = known.chainIndex!
  const { spans, importChain } = publish(
    room.spans,
    row.chain,
    place ?? null,
    { span: live, nextIndex },
    1,
  )
  room.spans.imported(row.chain)
  room.spans.used(row.chain, extent.low)
  room.spans.used(row.chain, extent.high)
  part.spans.push(...spans)
  part.importChains.push(importChain)
  room.orderKey = room.spans.end(room.chain)?.orderKey ?? room.orderKey
}

function knownAuths(
  parts: Parts,
  room: Room,
  auths: readonly RoomEvent[],
  state: StateMap,
  numbers: Interned,
): Map<string, Known> {
  const known = new Map<string, Known>()
  for (const { eventId, type, stateKey } of auths) {
    const nid = state.get(numbers.stateKey(type, stateKey!))!
    known.set(eventId, parts.events.get(nid) ?? parts.events.find(room, eventId)!)
  }
  return known
}
