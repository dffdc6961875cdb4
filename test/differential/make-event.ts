import { domainOf } from '#core/ids.ts'
import { toRoomEvent } from '#core/event/check.ts'
import { contentHash, eventIdOf } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/** What an event says, before it has hashes and an ID. */
export type Draft = {
  type: string
  stateKey?: string | undefined
  sender: string
  content: JsonObject
  prevEvents: readonly string[]
  authEvents: readonly string[]
  depth: number
  ts: number
  redacts?: string | undefined
  /** Servers that have signed beside the sender's. */
  cosigners?: readonly string[]
}

let named = 0

/**
 * Makes an event with the right hash and ID. Its signatures are there in name only: the rules under
 * test ask who has signed, and checking that is tested elsewhere.
 */
export function makeEvent(
  version: RoomVersion,
  roomId: string | undefined,
  draft: Draft,
): RoomEvent {
  const server = domainOf(draft.sender) ?? 'nowhere.example'
  const refer = (id: string): Json => (version.eventFormat === 'named' ? [id, { sha256: '' }] : id)
  const pdu: JsonObject = {
    auth_events: draft.authEvents.map(refer),
    content: draft.content,
    depth: draft.depth,
    origin_server_ts: draft.ts,
    prev_events: draft.prevEvents.map(refer),
    sender: draft.sender,
    signatures: Object.fromEntries(
      [server, ...(draft.cosigners ?? [])].map((name) => [name, { 'ed25519:1': 'c2lnbmVk' }]),
    ),
    type: draft.type,
  }
  if (draft.stateKey !== undefined) pdu['state_key'] = draft.stateKey
  if (roomId !== undefined) pdu['room_id'] = roomId
  if (version.eventFormat === 'named')
    pdu['event_id'] = `$${named++}${roomId?.slice(1, roomId.indexOf(':'))}:${server}`
  if (draft.redacts !== undefined && version.redactsAtTopLevel) pdu['redacts'] = draft.redacts
  return finishEvent(version, pdu)
}

/** Puts the content hash into a PDU, and works out its ID. */
export function finishEvent(version: RoomVersion, pdu: JsonObject): RoomEvent {
  const sha256 = contentHash(version, pdu)
  if (sha256 === undefined) throw new Error('the event has no canonical form')
  const whole = { ...pdu, hashes: { sha256 } }
  const eventId = eventIdOf(version, whole)
  if (eventId === undefined) throw new Error('the event has no ID')
  const roomId = whole['room_id' as keyof typeof whole] ?? `!${eventId.slice(1)}`
  return toRoomEvent(version, whole as unknown as Pdu, eventId, roomId as unknown as string)
}

/** Event IDs of v1–v2 are counted: a seed gives the same ones only from here on. */
export function restartNames(): void {
  named = 0
}
