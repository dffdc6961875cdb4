import { applyInOrder, type PartialState } from './iterative-auth.ts'
import { mainlineOf, mainlineOrder } from './mainline.ts'
import { powerOrder, selectPowerEvents } from './power-order.ts'
import { fullConflictedSet, type Resolution } from './resolvable.ts'
import type { Steps } from './steps.ts'

const eventsPerStep = 1024

/**
 * State resolution of v2–v11, and with `fromEmpty` that of v12 (2.1).
 *
 * Spec: rooms/v12/#algorithm
 */
export function* resolveV2(resolution: Resolution, fromEmpty: boolean): Steps<Map<number, number>> {
  const full = yield* fullConflictedSet(resolution)
  // 1: The power events, and what they rest on, in the order of power.
  const selected = yield* selectPowerEvents(full, resolution)
  const first = yield* powerOrder(selected, resolution)
  // 2: Applied to the unconflicted state; in 2.1 to an empty one.
  const below = fromEmpty ? nothing : resolution.unconflicted
  const state: PartialState = { made: new Map(), below }
  yield* applyInOrder(first, state, resolution)
  // 3: The remaining events, by the mainline of the power levels so far.
  const key = resolution.keyOf('m.room.power_levels', '')
  const powerLevels = key === undefined ? undefined : (state.made.get(key) ?? below(key))
  const remaining: number[] = []
  let step = 0
  for (const nid of full) {
    if (!selected.has(nid)) remaining.push(nid)
    if (++step % eventsPerStep === 0) yield
  }
  const mainline = yield* mainlineOf(powerLevels, resolution)
  const places = resolution.settled && new Map(mainline)
  const second = yield* mainlineOrder(remaining, mainline, resolution)
  // 4: Applied to what step 2 made.
  yield* applyInOrder(second, state, resolution)
  if (places) resolution.settled?.({ full, made: state.made, mainline: places })
  // 5: The unconflicted state goes over the result.
  const resolved = new Map<number, number>()
  for (const [made, event] of state.made) {
    if (resolution.unconflicted(made) === undefined) resolved.set(made, event)
    if (++step % eventsPerStep === 0) yield
  }
  return resolved
}

const nothing = () => undefined
