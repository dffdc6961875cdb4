import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { isObject, type Json, type JsonObject, numberOf } from '#core/json.ts'

/**
 * Events as clients see them.
 *
 * Spec: client-server-api/#room-event-format
 */

/** What this server adds to an event for one reader; `age` comes from `now`. */
export type Unsigned = Readonly<{
  age?: number
  membership?: string
  prev_content?: JsonObject
  prev_sender?: string
  redacted_because?: JsonObject
  replaces_state?: string
  transaction_id?: string
  invite_room_state?: JsonObject[]
  knock_room_state?: JsonObject[]
  'm.relations'?: JsonObject
}>

/** The part of an event that its client form is made of. */
export type ClientSource = Pick<RoomEvent, 'version' | 'eventId' | 'roomId' | 'pdu'>

export type ClientOptions = Readonly<{
  unsigned?: Unsigned
  /** Milliseconds since 1970, for `age`; without it there is none. */
  now?: number
  /** /sync says the room elsewhere. */
  withoutRoomId?: boolean
}>

/** The client form of an event; a redacted event is given with its redacted PDU. */
export function clientEvent(
  { version, eventId, roomId, pdu }: ClientSource,
  { unsigned, now, withoutRoomId = false }: ClientOptions = {},
): JsonObject {
  const event: JsonObject = {
    content: pdu.content,
    event_id: eventId,
    origin_server_ts: pdu.origin_server_ts,
  }
  if (pdu.type === 'm.room.redaction') {
    // Clients of every age must find the target: at the top, and in the content.
    const target = version.redactsAtTopLevel ? pdu['redacts'] : pdu.content['redacts']
    if (target !== undefined) {
      event['content'] = { ...pdu.content, redacts: target }
      event['redacts'] = target
    }
  }
  // v12+: also on the create event, which itself has none.
  if (!withoutRoomId) event['room_id'] = roomId
  event['sender'] = pdu.sender
  if (pdu.state_key !== undefined) event['state_key'] = pdu.state_key
  event['type'] = pdu.type
  const age = now === undefined ? {} : { age: now - (numberOf(pdu.origin_server_ts) ?? now) }
  event['unsigned'] = { ...age, ...(unsigned as JsonObject | undefined) }
  return event
}

/**
 * The form in which another server gets an event, as `event_format: federation` also shows it to
 * clients.
 */
export const federationEvent = (pdu: Pdu, unsigned?: Unsigned): JsonObject =>
  unsigned === undefined ? pdu : { ...pdu, unsigned: unsigned as JsonObject }

/** A state event with no more than those need who are not in the room. */
export const strippedEvent = ({
  content,
  sender,
  state_key = '',
  type,
}: Pick<Pdu, 'content' | 'sender' | 'state_key' | 'type'>): JsonObject => ({
  content,
  sender,
  state_key,
  type,
})

/**
 * What another server sent as the state of a room (PDUs, or stripped already) in the form that
 * clients get; entries that are no state events are left out.
 *
 * Spec: client-server-api/#stripped-state
 */
export function stripState(list: Json | undefined): JsonObject[] {
  if (!Array.isArray(list)) return []
  return list.filter(isStripped).map(strippedEvent)
}

function isStripped(value: Json): value is Pdu {
  return (
    isObject(value) &&
    isObject(value['content']) &&
    typeof value['sender'] === 'string' &&
    typeof value['state_key'] === 'string' &&
    typeof value['type'] === 'string'
  )
}
