import { authEventKeys, type AuthSubject, type StateKey } from '#core/event/auth-events.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import type { Interned, Interner, Wanted } from '#store/room/intern.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** The places of a room's state of which the rules may ask when they judge an event. */
export function keysAsked(event: AuthSubject): StateKey[] {
  const keys = authEventKeys(event)
  keys.push(createKey, joinRulesKey)
  return keys
}

const createKey: StateKey = ['m.room.create', '']
const joinRulesKey: StateKey = ['m.room.join_rules', '']
/** Of this every event asks, if no auth rule does. */
const policyKey: StateKey = ['m.room.policy', '']

/** The user whose membership an event sets; undefined if it sets nobody's. */
export function memberOf({ type, stateKey }: AuthSubject): string | undefined {
  if (type !== 'm.room.member' || stateKey === undefined) return undefined
  return isUserId(stateKey) ? stateKey : undefined
}

const asksAs = (event: AuthSubject, last: AuthSubject | undefined): boolean =>
  event.sender === last?.sender &&
  event.stateKey === undefined &&
  event.type !== 'm.room.member' &&
  event.type !== 'm.room.create' &&
  last.type !== 'm.room.create'

/** The numbers of all that these events are made of, and of what judging them asks for. */
export function* numbersFor(interner: Interner, events: Iterable<AuthSubject>): Task<Interned> {
  const types = new Set<string>()
  const stateKeys: StateKey[] = [policyKey]
  const users = new Set<string>()
  const servers = new Set<string>()
  // Messages of one user ask for the same places.
  let last: AuthSubject | undefined
  for (const event of events) {
    types.add(event.type)
    if (asksAs(event, last)) continue
    last = event
    users.add(event.sender)
    for (const key of keysAsked(event)) stateKeys.push(key)
    if (event.stateKey === undefined) continue
    stateKeys.push([event.type, event.stateKey])
    const member = memberOf(event)
    if (member === undefined) continue
    users.add(member)
    servers.add(domainOf(member)!)
  }
  const wanted: Wanted = { types, stateKeys, users, servers }
  return yield* wait(interner.intern(wanted))
}
