import { authorize } from '#core/auth/authorize.ts'
import type { StateLookup } from '#core/event/auth-events.ts'
import type { Resolvable, Resolution } from './resolvable.ts'
import type { Steps } from './steps.ts'

const checksPerStep = 16

/** What judging events asks for. */
type Judging = Pick<Resolution, 'event' | 'keyOf' | 'create'>

/** A state in the making: events by key, over a state below it. */
export type PartialState = Readonly<{
  made: Map<number, number>
  below(key: number): number | undefined
}>

/**
 * Applies events in order to a state: each that the state allows becomes part of it.
 *
 * Spec: rooms/v2/#definitions (iterative auth checks)
 */
export function* applyInOrder(
  order: readonly number[],
  state: PartialState,
  resolution: Judging,
): Steps<void> {
  let checks = 0
  for (const nid of order) {
    const resolvable = resolution.event(nid)
    const lookup = stateFor(resolvable, state, resolution)
    if (authorize(resolvable.event, lookup, signedOnReceipt).allowed)
      state.made.set(resolvable.key, nid)
    // Power levels may name thousands of users, and take milliseconds then.
    checks += resolvable.event.type === 'm.room.power_levels' ? checksPerStep : 1
    if (checks < checksPerStep) continue
    checks = 0
    yield
  }
}

/** Signatures were checked when the event came in. */
const signedOnReceipt = () => true

function stateFor(
  { event, auth }: Resolvable,
  state: PartialState,
  resolution: Judging,
): StateLookup {
  return (type, stateKey) => {
    const key = resolution.keyOf(type, stateKey)
    const nid = key === undefined ? undefined : (state.made.get(key) ?? state.below(key))
    if (nid !== undefined) return resolution.event(nid).event
    // What the state lacks comes from the event's own auth_events, unless that was rejected.
    for (const cited of auth) {
      const found = resolution.event(cited)
      if (found.event.type === type && found.event.stateKey === stateKey)
        return found.rejected ? undefined : found.event
    }
    // v12+: the room ID stands for the create event.
    if (event.version.createEventIsRoomId && type === 'm.room.create' && stateKey === '')
      return resolution.create
    return undefined
  }
}
