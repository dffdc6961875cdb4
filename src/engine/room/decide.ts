import { authorize, checkAuthEvents } from '#core/auth/authorize.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { StateKey, StateLookup } from '#core/event/auth-events.ts'
import { createOfRoomId } from '#core/ids.ts'
import { allow, type Verdict, reject } from '#core/verdict.ts'
import { eventFlags } from '#store/room/batch.ts'
import type { Interned } from '#store/room/intern.ts'
import { StateMap } from '#store/room/state-map.ts'
import { keysAsked } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { distinct, resolveStates } from '#engine/room/resolve.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import { type Task } from '#engine/room/task.ts'
import { RoomReloaded } from '#engine/room/work.ts'

/** Signatures that a rule asks for were checked before; without one there is a rejection already. */
const signed = () => true

/** What the checks say of an event: 4 and 5 reject, 6 soft-fails. */
export type Judgement = { flags: number; reason: string | null }

/** The state after an event that we have: what its descendants start from. */
export function* stateAfter(parts: Parts, room: Room, known: Known): Task<StateMap> {
  const extremity = room.extremities.get(known.nid)
  if (extremity) return extremity.after
  const before = yield* parts.states.load(room, known)
  return after(before, known)
}

/** A rejected event changes nothing. */
export const after = (before: StateMap, known: Known): StateMap =>
  known.stateKeyNid === null || isRejected(known)
    ? before
    : before.with([[known.stateKeyNid, known.nid]])

/**
 * The state before an event: what the states after its prev_events resolve to. It depends on nothing
 * else, and never goes stale.
 */
export function* stateBefore(parts: Parts, room: Room, prevs: readonly Known[]): Task<StateMap> {
  const states: StateMap[] = []
  for (const prev of prevs) states.push(yield* stateAfter(parts, room, prev))
  // Before the create event, which may come late, there is nothing.
  if (states.length === 0) return StateMap.empty
  return yield* resolveStates(parts, room, states)
}

/** Makes the places of a state that judging an event asks for ready to be looked up. */
export function* lookupIn(
  parts: Parts,
  room: Room,
  state: StateMap,
  keys: readonly StateKey[],
  numbers: Interned,
): Task<StateLookup> {
  const nids: number[] = []
  for (const [type, stateKey] of keys) {
    const nid = state.get(numbers.stateKey(type, stateKey))
    if (nid !== undefined) nids.push(nid)
  }
  const events = yield* parts.events.byNids(room, nids)
  return (type, stateKey) => {
    const nid = state.get(numbers.stateKey(type, stateKey))
    return nid === undefined ? undefined : events.get(nid)?.event
  }
}

/** Checks 4 and 5: by the events that it cites, by the state before it. */
export function* judgeBefore(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  {
    before,
    auths,
    numbers,
  }: { before: StateMap; auths: ReadonlyMap<string, Known>; numbers: Interned },
): Task<Verdict> {
  // 4: Passes the authorisation rules by its auth events, otherwise it is rejected.
  const byAuth = judgeByAuthEvents(room, event, auths)
  if (!byAuth.allowed) return byAuth
  // 5: By the state before the event, otherwise it is rejected.
  const lookup = yield* lookupIn(parts, room, before, keysAsked(event), numbers)
  return authorize(event, lookup, signed)
}

/** Check 4, and rules 1 to 3. */
export function judgeByAuthEvents(
  room: Pick<Room, 'create' | 'version'>,
  event: RoomEvent,
  auths: ReadonlyMap<string, Known>,
): Verdict {
  const createId = room.version.createEventIsRoomId ? createOfRoomId(event.roomId) : undefined
  const find = (id: string) => (id === createId ? room.create : auths.get(id)?.event)
  const rejected = (id: string) => {
    const known = auths.get(id)
    return known !== undefined && isRejected(known)
  }
  const cited = checkAuthEvents(event, find, rejected)
  if (!cited.allowed) return cited
  const byPlace = new Map<string, RoomEvent>()
  for (const id of event.authEvents) {
    const auth = auths.get(id)!.event
    byPlace.set(`${auth.type}\0${auth.stateKey}`, auth)
  }
  const lookup: StateLookup = (type, stateKey) =>
    // v12+: the room ID stands for the create event.
    type === 'm.room.create' && stateKey === '' && createId !== undefined
      ? room.create
      : byPlace.get(`${type}\0${stateKey}`)
  return authorize(event, lookup, signed)
}

/** Check 6: by the current state, otherwise it is soft-failed. */
export function* judgeNow(
  parts: Parts,
  room: Room,
  event: RoomEvent,
  { before, numbers, behindGap }: Omit<StatesAround, 'isHistory'>,
): Task<Verdict> {
  // The state before it, where it passed.
  if (distinct([before, room.state]).length === 1) return allow
  let now = room.state
  if (behindGap) {
    // We may have missed much: its own past has a say in what is current. It is no way around a ban,
    // which resolution would keep.
    const afters = [...room.extremities.values()].map((each) => each.after)
    now = yield* resolveStates(parts, room, [...afters, before])
  }
  const lookup = yield* lookupIn(parts, room, now, keysAsked(event), numbers)
  return authorize(event, lookup, signed)
}

/** What an event is judged by beside itself. */
export type StatesAround = {
  before: StateMap
  numbers: Interned
  /** The state before it was fetched: some of its prev_events are missing. */
  behindGap: boolean
  /** It comes before a gap that is there: what is current has nothing to say of it, and it says nothing. */
  isHistory: boolean
}

/** What a room becomes with one more event. */
export type Merged = {
  revision: number
  extremities: Room['extremities']
  state: StateMap
  softFailed: string | undefined
}

/**
 * Checks an event against the current state, and merges the state after it with that of the room.
 * Local sends go on meanwhile: then this is repeated, from the state after the event, which stays.
 */
export function* merge(
  parts: Parts,
  room: Room,
  known: Known,
  states: StatesAround & { prevNids: readonly number[] },
): Task<Merged> {
  const own = after(states.before, known)
  let resolved: { from: StateMap[]; to: StateMap } | undefined
  for (;;) {
    const { revision } = room
    const merged: Merged = {
      revision,
      extremities: room.extremities,
      state: room.state,
      softFailed: undefined,
    }
    // Rejected and soft-failed events are cited by nothing of ours; nor is one that others cite.
    if (!isRejected(known) && !states.isHistory) {
      const verdict = yield* judgeNow(parts, room, known.event, states)
      if (!verdict.allowed) merged.softFailed = verdict.reason
      else if (!room.missing.has(known.event.eventId)) {
        merged.extremities = new Map(room.extremities)
        for (const nid of states.prevNids) merged.extremities.delete(nid)
        merged.extremities.set(known.nid, { known, after: own })
        const from = distinct([...merged.extremities.values()].map((each) => each.after))
        if (!resolved || !sameList(resolved.from, from))
          resolved = { from, to: yield* resolveStates(parts, room, from, known) }
        merged.state = resolved.to
      }
    }
    if (room.stale) throw new RoomReloaded()
    if (room.revision === revision) return merged
    parts.counters.mergesRepeated++
  }
}

const sameList = (a: readonly unknown[], b: readonly unknown[]) =>
  a.length === b.length && a.every((each, index) => each === b[index])

/** The flags and the reason of what checks 4 to 6 said. */
export function judgementOf(before: Verdict, softFailed: string | undefined): Judgement {
  if (!before.allowed) return { flags: eventFlags.rejected, reason: before.reason }
  if (softFailed !== undefined) return { flags: eventFlags.softFailed, reason: softFailed }
  return { flags: 0, reason: null }
}

/** The verdict on an event that lacks a signature which a rule asks for. */
export const unsigned = (reason: string | undefined): Verdict =>
  reason === undefined ? allow : reject(reason)
