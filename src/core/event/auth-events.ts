import { isObject } from '#core/json.ts'
import type { RoomEvent } from '#core/event/pdu.ts'

/**
 * Which events of the room's state give an event its right to be.
 *
 * Spec: server-server-api/#auth-events-selection
 */

/** What an event's rights depend on: known before the event has an ID or a signature. */
export type AuthSubject = Pick<RoomEvent, 'version' | 'type' | 'stateKey' | 'sender' | 'content'>
export type StateKey = readonly [type: string, stateKey: string]
/** Some room state, by type and state key. */
export type StateLookup = (type: string, stateKey: string) => RoomEvent | undefined

const powerLevelsKey: StateKey = ['m.room.power_levels', '']
const createKey: StateKey = ['m.room.create', '']

/** Lists the places in the room's state from which an event takes its `auth_events`, each once. */
export function authEventKeys(event: AuthSubject): StateKey[] {
  if (event.type === 'm.room.create') return []
  const keys = [powerLevelsKey]
  // The create event, v1–v11.
  if (!event.version.createEventIsRoomId) keys.push(createKey)
  if (event.type !== 'm.room.member') {
    keys.push(['m.room.member', event.sender])
    return keys
  }
  const members = [event.sender]
  addMemberKeys(event, keys, members)
  for (const member of new Set(members)) keys.push(['m.room.member', member])
  return keys
}

/** Selects the `auth_events` of an event from the state before it. */
export function selectAuthEvents(event: AuthSubject, state: StateLookup): RoomEvent[] {
  return authEventKeys(event).flatMap(([type, stateKey]) => state(type, stateKey) ?? [])
}

function addMemberKeys(event: AuthSubject, keys: StateKey[], members: string[]): void {
  const { membership } = event.content
  if (event.stateKey !== undefined) members.push(event.stateKey)
  // The join rules, for `join`, `invite` or `knock`.
  if (membership === 'join' || membership === 'invite' || membership === 'knock')
    keys.push(['m.room.join_rules', ''])
  // The third-party invite whose state key is the token, for `invite`.
  const token = membership === 'invite' ? thirdPartyToken(event) : undefined
  if (token !== undefined) keys.push(['m.room.third_party_invite', token])
  // The member who authorises a restricted join, v8+.
  const authoriser = event.content['join_authorised_via_users_server']
  if (membership === 'join' && event.version.restrictedJoins && typeof authoriser === 'string')
    members.push(authoriser)
}

/** Returns `third_party_invite.signed.token` of an invite, if it is there. */
export function thirdPartyToken(event: AuthSubject): string | undefined {
  const invite = event.content['third_party_invite']
  if (!isObject(invite) || !isObject(invite['signed'])) return undefined
  const { token } = invite['signed']
  return typeof token === 'string' ? token : undefined
}
