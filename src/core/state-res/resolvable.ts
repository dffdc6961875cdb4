import { authEventKeys } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Conflicts } from './conflicts.ts'

/** A state event as resolution sees it: by number, with its place in the state by number too. */
export type Resolvable = Readonly<{
  /** The number of its (type, state key). */
  key: number
  event: RoomEvent
  /** The numbers of its `auth_events`. */
  auth: readonly number[]
  /** It failed the checks on receipt: it may still become state, and helps no other event into it. */
  rejected: boolean
}>

/**
 * What a resolution works on. Everything that it may ask for is in memory before it starts:
 * - `event` answers for the full conflicted set (the conflicted events, the auth difference and, in
 *   v2.1, the subgraph) and for what `alsoNeeded` lists; nothing else is asked for.
 * - `powerLevelsOf` answers for the full conflicted set, for the power levels that it leads to, and
 *   so on down: the chains of power levels alone, which are short.
 */
export type Resolution = Readonly<{
  conflicts: Conflicts
  /** ∪Cᵢ − ∩Cᵢ; unused in v1. */
  authDifference: Iterable<number>
  /** The conflicted state subgraph; used in v2.1 only. */
  subgraph: Iterable<number>
  /** The create event of the room. */
  create: RoomEvent
  event(nid: number): Resolvable
  /** The `m.room.power_levels` event among an event's `auth_events`. */
  powerLevelsOf(nid: number): number | undefined
  /** The number of a type and state key; undefined if no event of the room has them. */
  keyOf(type: string, stateKey: string): number | undefined
  /** The event of a key that is the same in all states; never of a conflicted key. */
  unconflicted(key: number): number | undefined
}>

/** The full conflicted set. Spec: rooms/v12/#definitions */
export function fullConflictedSet(resolution: Resolution): Set<number> {
  const full = new Set<number>()
  for (const events of resolution.conflicts.candidates.values())
    for (const event of events) full.add(event)
  for (const event of resolution.authDifference) full.add(event)
  for (const event of resolution.subgraph) full.add(event)
  return full
}

/**
 * Lists the events that must be in memory beside the full conflicted set, which already is: what its
 * events cite, and the shared state by which they are judged.
 */
export function alsoNeeded(
  full: ReadonlySet<number>,
  resolution: Pick<Resolution, 'event' | 'keyOf' | 'unconflicted'>,
): number[] {
  const needed = new Set<number>()
  const addState = (type: string, stateKey: string) => {
    const key = resolution.keyOf(type, stateKey)
    const nid = key === undefined ? undefined : resolution.unconflicted(key)
    if (nid !== undefined) needed.add(nid)
  }
  addState('m.room.create', '')
  addState('m.room.power_levels', '')
  for (const nid of full) {
    const { event, auth } = resolution.event(nid)
    for (const cited of auth) needed.add(cited)
    for (const [type, stateKey] of authEventKeys(event)) addState(type, stateKey)
  }
  return [...needed].filter((nid) => !full.has(nid))
}
