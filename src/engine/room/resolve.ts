import type { StateMap } from '#store/room/state-map.ts'
import { sameHash } from '#store/room/state-hash.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/** Each state once. */
export function distinct(states: readonly StateMap[]): StateMap[] {
  const found: StateMap[] = []
  for (const state of states)
    if (!found.some((each) => each === state || sameHash(each.hash, state.hash))) found.push(state)
  return found
}

/** What states of a room resolve to. */
export function* resolveStates(
  parts: Parts,
  room: Room,
  states: readonly StateMap[],
): Task<StateMap> {
  const different = distinct(states)
  if (different.length === 1) return different[0]!
  throw new Error(`${parts.counters.local} ${room.nid}`)
}
