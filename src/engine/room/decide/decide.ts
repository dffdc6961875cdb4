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
import { resolveStates } from '#engine/room/decide/resolve.ts'
import { isRejected, type Known, type Room } from '#engine/room/room.ts'
import { type Task } from '#engine/room/task.ts'

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
  const nids = keys.map(([type, stateKey]) => state.get(numbers.stateKey(type, stateKey)))
  const events = nids.map((nid) => (nid === undefined ? undefined : parts.events.get(nid)?.event))
  const lacking = nids.filter((nid, index) => nid !== undefined && !events[index])
  if (lacking.length > 0) {
    const read = yield* parts.events.byNids(room, lacking as number[])
    for (const [index, nid] of nids.entries()) events[index] ??= read.get(nid!)?.event
  }
  return (type, stateKey) => {
    const index = keys.findIndex((key) => key[1] === stateKey && key[0] === type)
    if (index >= 0) return events[index]
    // Whoever asks for what no event of its kind needs finds nothing, or a bug.
    numbers.stateKey(type, stateKey)
    return undefined
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
  const began = performance.now()
  const byAuth = judgeByAuthEvents(room, event, auths)
  let tookMs = performance.now() - began
  if (!byAuth.allowed) {
    parts.times.authorize.add(tookMs)
    return byAuth
  }
  // 5: By the state before the event, otherwise it is rejected.
  const lookup = yield* lookupIn(parts, room, before, keysAsked(event), numbers)
  const resumed = performance.now()
  const byState = authorize(event, lookup, signed)
  tookMs += performance.now() - resumed
  parts.times.authorize.add(tookMs)
  return byState
}

/** Check 4, and rules 1 to 3. */
function judgeByAuthEvents(
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
  const events = event.authEvents.map((id) => auths.get(id)!.event)
  const lookup: StateLookup = (type, stateKey) =>
    // v12+: the room ID stands for the create event.
    type === 'm.room.create' && stateKey === '' && createId !== undefined
      ? room.create
      : events.find((auth) => auth.type === type && auth.stateKey === stateKey)
  return authorize(event, lookup, signed)
}

/** The flags and the reason of what checks 4 to 6 said. */
export function judgementOf(before: Verdict, softFailed: string | undefined): Judgement {
  if (!before.allowed) return { flags: eventFlags.rejected, reason: before.reason }
  if (softFailed !== undefined) return { flags: eventFlags.softFailed, reason: softFailed }
  return { flags: 0, reason: null }
}

/** The verdict on an event that lacks a signature which a rule asks for. */
export const unsigned = (reason: string | undefined): Verdict =>
  reason === undefined ? allow : reject(reason)
