import { parseJson } from '#core/canonical-json.ts'
import { forbidden, invalidParam, notFound } from '#core/error.ts'
import { isHistoryType } from '#core/content/msc2716.ts'
import { authorize } from '#core/auth/authorize.ts'
import { type AuthSubject, selectAuthEvents } from '#core/event/auth-events.ts'
import { buildEvent, refusalOf } from '#core/event/build.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { allow } from '#core/verdict.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import { type Applied, applyAt, type Judged } from '#engine/room/decide/apply.ts'
import { checkLocalLink } from '#engine/room/batch-send/links.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import { type Answer, Asked } from '#engine/room/asked.ts'
import type { Lane } from '#engine/room/lane.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { randomEventId } from '#engine/room/local/plan-room.ts'
import { depthBehind } from '#engine/room/import/depth.ts'
import { policyOf, requirePolicySignature } from '#engine/room/policy/policy.ts'
import { checkLocalRedaction } from '#engine/room/decide/redact.ts'
import { resolveStates } from '#engine/room/decide/resolve.ts'
import type { Known, Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { type Committed, type Outcome, RoomReloaded } from '#engine/room/work.ts'
import type { Landed, LocalEvent, LocalTxn } from '#engine/worker/protocol.ts'

/**
 * How many events one of ours cites at most: the rest are cited by the next. As many as there may be, since where it
 * does not cite all ends of the room the state before it is another than the room's.
 *
 * Spec: rooms/v1/#event-format
 */
export const maxPrevs = 20

/** An event that a local user wants in a room: built on what is decided, never waiting for the inbox. */
export class Send extends Asked<Landed> {
  readonly bytes: number
  readonly #wish: LocalEvent
  readonly #content: JsonObject
  #room: Room | undefined
  #known: Known | undefined

  constructor(answer: Answer<Landed>, wish: LocalEvent) {
    super(answer)
    this.#wish = wish
    this.#content = contentOf(wish.content)
    this.bytes = wish.content.length + 1_000
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const room = yield* lane.load()
    if (room?.kind !== 'joined') throw notFound('The room is not known')
    const { known, outcome } = yield* sendLocal(lane.parts, room, this.#wish, this.#content)
    this.#room = room
    this.#known = known
    return outcome
  }

  override committed(committed: Committed): void {
    this.#room!.committed(this.#known!)
    super.committed(committed)
  }

  answerFor({ shard, firstPosition: position }: Committed): Landed {
    return { eventId: this.#known!.event.eventId, shard, position }
  }
}

/** Reads the content that a caller gives as text. */
export function contentOf(text: string): JsonObject {
  const content = parseJson(text)
  if (!isObject(content)) throw invalidParam('The content is not an object')
  return content
}

/** So often a local event may be overtaken before it keeps those of other servers out. */
const patience = 3

/** Builds a local event on the room as it is, judges it, and applies it. */
export function* sendLocal(
  parts: Parts,
  room: Room,
  wish: LocalEvent,
  content: JsonObject,
): Task<{ known: Known; outcome: Outcome }> {
  const subject: AuthSubject = {
    version: room.version,
    type: wish.type,
    stateKey: wish.stateKey,
    sender: wish.sender,
    content,
  }
  const numbers = yield* numbersFor(parts.interner, [subject])
  const { inbound } = room.holds
  let overtaken = 0
  try {
    for (;;) {
      const applied = yield* sendOnce(parts, room, { wish, subject, numbers })
      if (applied) return applied
      // If the room moved meanwhile it must be built on that; but a flood must not keep it for ever.
      if (++overtaken === patience) inbound.start(parts.limits.holdMs)
    }
  } finally {
    if (overtaken >= patience) inbound.end()
  }
}

/** Undefined if something else was decided meanwhile. */
function* sendOnce(
  parts: Parts,
  room: Room,
  { wish, subject, numbers }: { wish: LocalEvent; subject: AuthSubject; numbers: Interned },
): Task<Applied | undefined> {
  const current = room.state
  const began = room.revision
  const isCut = room.extremities.size > maxPrevs
  const before = isCut ? yield* stateOfCited(parts, room) : current
  const state = yield* lookupIn(parts, room, before, keysAsked(subject), numbers)
  // Its state may let the user do what the room's does not: others would keep the event from their users.
  const now =
    before === current ? state : yield* lookupIn(parts, room, current, keysAsked(subject), numbers)
  if (wish.redacts !== undefined)
    yield* checkLocalRedaction(parts, room, wish.sender, wish.redacts, state)
  if (isHistoryType(wish.type)) yield* checkLocalLink(parts, room, subject)
  const policy = yield* policyOf(parts, room, numbers)
  if (room.stale) throw new RoomReloaded()
  if (room.state !== current) return undefined
  if ((isCut || room.extremities.size > maxPrevs) && room.revision !== began) return undefined
  const { revision } = room
  const prevs = citedBy(room)
  const auths = selectAuthEvents(subject, state)
  const event = buildLocal(parts, room, wish, subject.content, {
    prevs: prevs.map((prev) => prev.event),
    auths,
    depth: depthBehind(parts, room, prevs, wish.stateKey === undefined),
  })
  let verdict = authorize(event.event, state, () => true)
  if (verdict.allowed && now !== state) verdict = authorize(event.event, now, () => true)
  if (!verdict.allowed) {
    parts.counters.refused++
    throw forbidden(verdict.reason)
  }
  requirePolicySignature(event.event, policy)
  const judged: Judged = {
    ...event,
    prevs,
    auths: knownAuths(parts, room, before, { auths, numbers }),
    before,
    numbers,
    verdict: allow,
    relayed: true,
    inboxIds: [],
    ...txnOf(wish.txn, parts.now()),
  }
  return yield* applyAt(parts, room, judged, revision)
}

/** What an event keeps of the transaction that made it: the sending device hears of it again. */
export function txnOf(txn: LocalTxn | undefined, sentAt: number): Pick<Judged, 'txn' | 'internal'> {
  if (!txn) return {}
  return { txn: { ...txn, eventNid: 0, sentAt }, internal: JSON.stringify({ txn }) }
}

/** What other servers take for the state before an event that does not cite all ends: they work it out from those it cites. */
function* stateOfCited(parts: Parts, room: Room): Task<StateMap> {
  const afters = citedBy(room).map(({ nid }) => room.extremities.get(nid)!.after)
  return yield* resolveStates(parts, room, afters)
}

/** The events that ours cites: the deepest, if there are many. */
export function citedBy(room: Room): Known[] {
  const all = Array.from(room.extremities.values(), ({ known }) => known)
  if (all.length <= maxPrevs) return all
  return all.sort((a, b) => b.event.depth - a.event.depth).slice(0, maxPrevs)
}

/** Events that were looked up in a state, as they are known. */
export function knownAuths(
  parts: Parts,
  room: Room,
  state: StateMap,
  { auths, numbers }: { auths: readonly RoomEvent[]; numbers: Interned },
): Map<string, Known> {
  const known = new Map<string, Known>()
  for (const { eventId, type, stateKey } of auths) {
    const nid = state.get(numbers.stateKey(type, stateKey!))!
    known.set(eventId, parts.events.get(nid) ?? parts.events.find(room, eventId)!)
  }
  return known
}

/** Builds and signs an event on top of these. */
export function buildLocal(
  parts: Parts,
  room: Room,
  wish: LocalEvent,
  content: JsonObject,
  {
    prevs,
    auths,
    depth,
  }: { prevs: readonly RoomEvent[]; auths: readonly RoomEvent[]; depth?: number },
): { event: RoomEvent; text: string } {
  const { version } = room
  const built = buildEvent(
    version,
    {
      roomId: room.roomId,
      type: wish.type,
      sender: wish.sender,
      stateKey: wish.stateKey,
      content,
      prevEvents: prevs.map(({ eventId }) => eventId),
      authEvents: auths.map(({ eventId }) => eventId),
      depth: depth ?? 1 + Math.max(0, ...prevs.map((prev) => prev.depth)),
      originServerTs: wish.timestamp ?? parts.now(),
      redacts: wish.redacts,
      named: version.eventFormat === 'named' ? namedBy(parts, prevs, auths) : undefined,
    },
    parts.signing,
  )
  if (built.outcome !== 'built') throw refusalOf(built)
  return { event: built.event, text: built.text }
}

/** v1–v2: the ID that we make up, and the hashes of what the event cites. */
function namedBy(parts: Parts, prevs: readonly RoomEvent[], auths: readonly RoomEvent[]) {
  const hashes = new Map<string, string>()
  for (const event of [...prevs, ...auths])
    hashes.set(event.eventId, referenceHash(event.version, event.pdu) ?? '')
  return { eventId: randomEventId(parts.signing.serverName), hashes }
}
