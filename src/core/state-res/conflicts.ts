import type { Steps } from './steps.ts'

/**
 * A room state: event numbers by the number of their (type, state key). Two arrays of one length,
 * sorted by key, each key once; typed arrays or plain ones.
 */
export type PackedState = Readonly<{ keys: ArrayLike<number>; events: ArrayLike<number> }>

/** Where some states of one room differ. All else is the same in each of them. */
export type Conflicts = Readonly<{
  /** The events of each key that is not the same in all states; a key may also be absent from some. */
  candidates: ReadonlyMap<number, readonly number[]>
  /** For each state its events of those keys. */
  perState: readonly (readonly number[])[]
}>

const keysPerStep = 2048

/** Compares states in one pass over all of them. Spec: rooms/v2/#definitions */
export function* findConflicts(states: readonly PackedState[]): Steps<Conflicts> {
  const candidates = new Map<number, number[]>()
  const perState = states.map(() => [] as number[])
  const cursors = states.map(() => 0)
  for (let step = 1; ; step++) {
    let key = Infinity
    for (let index = 0; index < states.length; index++) {
      const keys = states[index]!.keys
      const cursor = cursors[index]!
      if (cursor < keys.length && keys[cursor]! < key) key = keys[cursor]!
    }
    if (key === Infinity) return { candidates, perState }
    const events = takeKey(states, cursors, key)
    if (events.some((event) => event !== events[0])) {
      const present = events.filter((event) => event !== undefined)
      candidates.set(key, [...new Set(present)])
      for (const [index, event] of events.entries())
        if (event !== undefined) perState[index]!.push(event)
    }
    if (step % keysPerStep === 0) yield
  }
}

function takeKey(
  states: readonly PackedState[],
  cursors: number[],
  key: number,
): (number | undefined)[] {
  const events: (number | undefined)[] = []
  for (let index = 0; index < states.length; index++) {
    const state = states[index]!
    const cursor = cursors[index]!
    if (cursor < state.keys.length && state.keys[cursor] === key) {
      events.push(state.events[cursor])
      cursors[index] = cursor + 1
    } else events.push(undefined)
  }
  return events
}

/** Looks a key up in a state. */
export function eventAt(state: PackedState, key: number): number | undefined {
  let low = 0
  let high = state.keys.length - 1
  while (low <= high) {
    const middle = (low + high) >>> 1
    const found = state.keys[middle]!
    if (found === key) return state.events[middle]
    if (found < key) low = middle + 1
    else high = middle - 1
  }
  return undefined
}

/**
 * What turns one of the states into the resolved one: the event that each key takes, or undefined
 * where the key goes away.
 */
export function changesTo(
  state: PackedState,
  conflicts: Conflicts,
  resolved: ReadonlyMap<number, number>,
): Map<number, number | undefined> {
  const changes = new Map<number, number | undefined>()
  for (const key of new Set([...conflicts.candidates.keys(), ...resolved.keys()])) {
    const event = resolved.get(key)
    if (event !== eventAt(state, key)) changes.set(key, event)
  }
  return changes
}
