import type { Conflicts } from '#core/state-res/conflicts.ts'
import type { Steps } from '#core/state-res/steps.ts'
import { type StateMap, walkDifferences } from './state-map.ts'

/** Compares states for a resolution: like `findConflicts` of the core, but passes over what they share. */
export function* conflictsOf(states: readonly StateMap[]): Steps<Conflicts> {
  const candidates = new Map<number, number[]>()
  const perState = states.map(() => [] as number[])
  for (const found of walkDifferences(states)) {
    if (!found) {
      yield
      continue
    }
    const present = new Set<number>()
    for (const [index, event] of found.events.entries()) {
      if (event === undefined) continue
      present.add(event)
      perState[index]!.push(event)
    }
    candidates.set(found.key, [...present])
  }
  return { candidates, perState }
}

/** What turns one of the states into the resolved one: for `StateMap.with`. */
export function changesTo(
  state: StateMap,
  conflicts: Conflicts,
  resolved: ReadonlyMap<number, number>,
): Map<number, number | undefined> {
  const changes = new Map<number, number | undefined>()
  for (const key of new Set([...conflicts.candidates.keys(), ...resolved.keys()])) {
    const event = resolved.get(key)
    if (event !== state.get(key)) changes.set(key, event)
  }
  return changes
}
