import { applyInOrder } from './iterative-auth.ts'
import { mainlineOrder } from './mainline.ts'
import type { Resolution, Settled } from './resolvable.ts'
import type { Steps } from './steps.ts'
import type { RoomEvent } from '#core/event/pdu.ts'

/**
 * Says whether an event is a user's own doing and about themselves: whoever judges it asks for the
 * create event, the power levels, the join rules and this user's membership, and no more; and it is no
 * power event.
 */
export function isOwnMembership({ type, stateKey, sender, content }: RoomEvent): boolean {
  return (
    type === 'm.room.member' &&
    stateKey === sender &&
    !Object.hasOwn(content, 'join_authorised_via_users_server') &&
    !Object.hasOwn(content, 'third_party_invite')
  )
}

/** The users whose membership may be asked for when an event is judged. */
export function usersOf({ type, stateKey, sender, content }: RoomEvent): string[] {
  const users = [sender]
  if (type !== 'm.room.member') return users
  if (stateKey !== undefined) users.push(stateKey)
  const authoriser = content['join_authorised_via_users_server']
  if (typeof authoriser === 'string') users.push(authoriser)
  return users
}

/**
 * What a user's membership resolves to (v2, v2.1) where `events` are all those of the full conflicted
 * set that ask for it or set it, each of them their own membership. The rest of the set comes out as it
 * did without them: none of it asks for what they make, and what they ask for was `settled` before any
 * event that is no power event was applied.
 */
export function* resolveOneKey(
  key: number,
  events: readonly number[],
  settled: Settled,
  resolution: Pick<Resolution, 'event' | 'keyOf' | 'create' | 'powerLevelsOf' | 'unconflicted'>,
): Steps<number | undefined> {
  const made = new Map<number, number>()
  for (const type of ['m.room.create', 'm.room.power_levels', 'm.room.join_rules']) {
    const place = resolution.keyOf(type, '')
    const event = place === undefined ? undefined : settled.made.get(place)
    if (event !== undefined) made.set(place!, event)
  }
  // All of them rest on power levels of the mainline: nothing is added to it.
  const order = yield* mainlineOrder(events, settled.mainline, resolution)
  const below = resolution.unconflicted
  yield* applyInOrder(order, { made, below }, resolution)
  return made.get(key)
}

/**
 * Whether an event rests on no power levels, or on some of the mainline itself. In v2.1 there may be no
 * mainline: power levels without conflict are in none.
 */
export const isOnMainline = (powerLevels: number | undefined, { mainline }: Settled): boolean =>
  mainline.size === 0 || powerLevels === undefined || mainline.has(powerLevels)
