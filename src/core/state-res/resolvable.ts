import { authEventKeys } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Conflicts } from './conflicts.ts'
import type { Steps } from './steps.ts'

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
  /** Told in v2 and v2.1 how the result came about. */
  settled?(how: Settled): void
}>

/** How a resolution came about: enough to say what one more event, on which no other rests, becomes. */
export type Settled = Readonly<{
  full: ReadonlySet<number>
  /** What was applied, by key, before the unconflicted state went over it. */
  made: ReadonlyMap<number, number>
  /** The places of power levels in the mainline, the current first. */
  mainline: Map<number, number>
}>

const eventsPerStep = 1024

/** The full conflicted set. Spec: rooms/v12/#definitions */
export function* fullConflictedSet(
  resolution: Pick<Resolution, 'conflicts' | 'authDifference' | 'subgraph'>,
): Steps<Set<number>> {
  const full = new Set<number>()
  const parts = [...resolution.conflicts.perState, resolution.authDifference, resolution.subgraph]
  let step = 0
  for (const part of parts)
    for (const event of part) {
      full.add(event)
      if (++step % eventsPerStep === 0) yield
    }
  return full
}

/**
 * Lists the events that must be in memory beside the full conflicted set, which already is: what its
 * events cite, and the shared state by which they are judged.
 */
export function* alsoNeeded(
  full: ReadonlySet<number>,
  resolution: Pick<Resolution, 'event' | 'keyOf' | 'unconflicted'>,
): Steps<number[]> {
  const needed = new Set<number>()
  const add = (nid: number | undefined) => {
    if (nid !== undefined && !full.has(nid)) needed.add(nid)
  }
  const addState = (type: string, stateKey: string) => {
    const key = resolution.keyOf(type, stateKey)
    if (key !== undefined) add(resolution.unconflicted(key))
  }
  addState('m.room.create', '')
  addState('m.room.power_levels', '')
  let step = 0
  for (const nid of full) {
    const { event, auth } = resolution.event(nid)
    for (const cited of auth) add(cited)
    for (const [type, stateKey] of authEventKeys(event)) addState(type, stateKey)
    if (++step % eventsPerStep === 0) yield
  }
  return [...needed]
}
