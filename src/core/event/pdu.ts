import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * An event in its federation form: the JSON that is hashed, signed and relayed, with every key that
 * came with it. Only the keys that `checkFormat` vouches for are typed.
 *
 * Spec: rooms/v12/#event-format
 */
export type Pdu = JsonObject & {
  /** v1–v2 only. */
  event_id?: string
  /** Absent from the create event of v12+. */
  room_id?: string
  type: string
  sender: string
  state_key?: string
  content: JsonObject
  depth: number
  origin_server_ts: number
  hashes: { sha256: string } & JsonObject
  signatures: { [server: string]: { [keyId: string]: string } }
}

/**
 * An event as the rules see it, whatever its room version: IDs are worked out once, and auth and prev
 * events are plain lists of IDs.
 */
export type RoomEvent = Readonly<{
  version: RoomVersion
  eventId: string
  roomId: string
  type: string
  /** Undefined for an event that is not state. */
  stateKey: string | undefined
  sender: string
  content: JsonObject
  depth: number
  originServerTs: number
  prevEvents: readonly string[]
  authEvents: readonly string[]
  /** The target of an `m.room.redaction`, wherever the version keeps it. */
  redacts: string | undefined
  pdu: Pdu
}>
