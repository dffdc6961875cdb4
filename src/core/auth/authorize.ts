import { allow, reject, type Verdict } from '#core/verdict.ts'
import { authEventKeys, type StateKey, type StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isHistoryType } from '#core/content/msc2716.ts'
import { createOfRoomId, domainOf } from '#core/ids.ts'
import { authorizeAliases } from './aliases.ts'
import { authorizeCreate } from './create.ts'
import { authorizeHistorical } from './historical.ts'
import { authorizeMember, type SignedBy } from './member.ts'
import { authorizePowerLevels } from './power-levels.ts'
import { authorizeRedaction } from './redaction.ts'
import { RoomState } from './room.ts'

/**
 * The authorization rules, in their order, in two parts: what depends on the event and its
 * `auth_events` alone is asked once, what depends on a room state is asked for each state.
 *
 * The numbers are those of v12: rule 4 (aliases) of v1–v5 has none there, and in v1–v11 rule 2 is
 * missing, so that later ones are one lower (in v1–v5, with the aliases, they are the same again).
 *
 * Spec: rooms/v12/#authorization-rules
 */

/** Gives an event by ID, from wherever it is kept; the caller has fetched all that the event cites. */
export type EventLookup = (eventId: string) => RoomEvent | undefined

/** Rules 1 to 3: judges an event by the events that it cites. */
export function checkAuthEvents(
  event: RoomEvent,
  lookup: EventLookup,
  isRejected: (eventId: string) => boolean,
): Verdict {
  // 1: m.room.create.
  if (event.type === 'm.room.create') return authorizeCreate(event)
  // 2, v12+: room_id is not the ID of an accepted create event: reject.
  if (event.version.createEventIsRoomId) {
    const createId = createOfRoomId(event.roomId)
    if (!event.roomId.startsWith('!') || lookup(createId)?.type !== 'm.room.create')
      return reject('The room ID is not that of a create event')
    if (isRejected(createId)) return reject('The create event of the room was rejected')
  }
  const expected = authEventKeys(event)
  const seen: StateKey[] = []
  for (const id of event.authEvents) {
    const auth = lookup(id)
    if (auth === undefined) return reject(`The auth event ${id} is unknown`)
    // 3.2: An entry is not one that the selection asks for: reject.
    const place = expected.find(([type, key]) => type === auth.type && key === auth.stateKey)
    if (place === undefined)
      return reject(`The auth event ${id} (${auth.type}) has no place among the auth events`)
    // 3.1: Two entries have the same type and state_key: reject.
    if (seen.includes(place)) return reject(`The auth events name ${auth.type} twice`)
    seen.push(place)
    // 3.3: An entry was itself rejected: reject.
    if (isRejected(id)) return reject(`The auth event ${id} was rejected`)
    // 3.5: An entry is of another room: reject.
    if (auth.roomId !== event.roomId) return reject(`The auth event ${id} is of another room`)
  }
  // 3.4, v1–v11: There is no create event: reject.
  const hasCreate = event.version.createEventIsRoomId || seen.some(isCreatePlace)
  return hasCreate ? allow : reject('The auth events name no create event')
}

const isCreatePlace = ([type]: StateKey) => type === 'm.room.create'

/** Rules 4 to 11: judges an event by a room state; a create event needs none. */
export function authorize(event: RoomEvent, state: StateLookup, signedBy: SignedBy): Verdict {
  if (event.type === 'm.room.create') return authorizeCreate(event)
  const create = state('m.room.create', '')
  if (create === undefined) return reject('The room has no create event')
  // 4: The room does not federate, and the sender is of another server than its creator: reject.
  if (create.content['m.federate'] === false && domainOf(create.sender) !== domainOf(event.sender))
    return reject('The room does not federate')
  // 4 of v1–v5: m.room.aliases.
  if (event.type === 'm.room.aliases' && event.version.aliasesRule) return authorizeAliases(event)
  const room = new RoomState(create, state)
  // 5: m.room.member.
  if (event.type === 'm.room.member') return authorizeMember(event, room, signedBy)
  // 6: The sender is not joined: reject.
  if (room.membership(event.sender) !== 'join') return reject('The sender is not in the room')
  const own = room.levelOf(event.sender)
  // 7: m.room.third_party_invite: allow if and only if the sender may invite.
  if (event.type === 'm.room.third_party_invite')
    return own >= room.named('invite') ? allow : reject("The sender's power is too low to invite")
  // 8: The type requires more power than the sender has: reject.
  if (!(own >= room.required(event)))
    return reject(`The sender's power is too low for ${event.type}`)
  // 9: The state_key starts with an @, and is not the sender: reject.
  if (event.stateKey?.startsWith('@') && event.stateKey !== event.sender)
    return reject('The state key is the name of another user')
  // 10: m.room.power_levels.
  if (event.type === 'm.room.power_levels') return authorizePowerLevels(event, room)
  // 11 of v1–v2: m.room.redaction.
  if (event.type === 'm.room.redaction' && event.version.redactionsAreAuthorized)
    return authorizeRedaction(event, room)
  // MSC2716: insertion, batch and marker events.
  if (event.version.historicalPower && isHistoryType(event.type))
    return authorizeHistorical(event, room)
  // 11: Otherwise allow.
  return allow
}
