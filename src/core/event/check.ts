import { isBase64 } from '#core/base64.ts'
import { canonicalEvent, hashedText, redactedText, sha256Id } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { isEventIdOf, isRoomIdOf, isShortText, isUserId, roomIdOfCreate } from '#core/ids.ts'
import { isObject, isRawNumber, type Json, type JsonObject, without } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * Step 1 of the checks on a PDU: is it an event of its room version at all? What is refused here is
 * dropped and leaves no trace.
 *
 * Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu, rooms/v12/#event-format
 */
export type Parsed = Readonly<{ ok: RoomEvent } | { refused: string }>

export type ParseOptions = Readonly<{
  /** The room it must be in, if that is known. */
  roomId?: string | undefined
  /** Takes more than 10 auth and 20 prev events: what backfill brings was accepted long ago. */
  anyListLength?: boolean
}>

/** The canonical federation form, with signatures, of an event. */
export const maxPduBytes = 65_536
const maxAuthEvents = 10
const maxPrevEvents = 20

/** A parsed event with the texts that later steps need. */
export type Inspected = Readonly<{
  event: RoomEvent
  /** Its canonical form, with signatures. */
  text: string
  /** What the content hash covers. */
  hashed: string
  /** What the signatures cover. */
  signed: string
}>

/** Checks the format of an event from the network and works out its IDs. */
export function parsePdu(version: RoomVersion, json: unknown, options: ParseOptions = {}): Parsed {
  const inspected = inspectPdu(version, json, options)
  return typeof inspected === 'string' ? { refused: inspected } : { ok: inspected.event }
}

/** As `parsePdu`, for the steps that follow it; a text says why the event is refused. */
export function inspectPdu(
  version: RoomVersion,
  json: unknown,
  options: ParseOptions = {},
): Inspected | string {
  if (!isObject(json)) return 'The event is not an object'
  // `unsigned` is nobody's word: what we need of it we make ourselves.
  const pdu = 'unsigned' in json ? without(json, 'unsigned') : json
  const fault = formatFault(version, pdu, options)
  if (fault !== undefined) return fault

  const hashed = hashedText(version, pdu)
  const text = canonicalEvent(version, pdu)
  const signed = redactedText(version, pdu)
  if (hashed === undefined || text === undefined || signed === undefined)
    return 'The event is not canonical JSON'
  if (!fits(text)) return 'The event is larger than 65536 bytes'

  const eventId =
    version.eventFormat === 'named' ? (pdu['event_id'] as string) : `$${sha256Id(version, signed)}`
  const roomId = pdu['room_id'] === undefined ? roomIdOfCreate(eventId) : (pdu['room_id'] as string)
  if (options.roomId !== undefined && options.roomId !== roomId)
    return 'The event is of another room'
  return { event: toRoomEvent(version, pdu as Pdu, eventId, roomId), text, hashed, signed }
}

/** Why a PDU is no event of its version, whatever its size and its numbers. */
export const formatFault = (
  version: RoomVersion,
  pdu: JsonObject,
  options: ParseOptions,
): string | undefined => checkFields(version, pdu) ?? checkLists(version, pdu, options)

const fits = (text: string): boolean =>
  text.length * 3 <= maxPduBytes || Buffer.byteLength(text) <= maxPduBytes

function checkFields(version: RoomVersion, pdu: JsonObject): string | undefined {
  const { type, sender, state_key: stateKey, room_id: roomId, hashes, signatures } = pdu
  if (typeof type !== 'string' || !isShortText(type)) return '`type` is not a short text'
  if (typeof sender !== 'string' || !isUserId(sender)) return '`sender` is not a user ID'
  if (stateKey !== undefined && (typeof stateKey !== 'string' || !isShortText(stateKey)))
    return '`state_key` is not a short text'
  if (!isObject(pdu['content'])) return '`content` is not an object'

  // v12+: the create event has no room ID, since its own ID is the room ID.
  if (version.createEventIsRoomId && type === 'm.room.create') {
    if (roomId !== undefined) return 'A create event of this room version has no `room_id`'
    // Not spec: one with another state key would be a room without a create event in its state.
    if (stateKey !== '') return 'The `state_key` of a create event is empty'
  } else if (typeof roomId !== 'string' || !isRoomIdOf(version, roomId))
    return '`room_id` is not a room ID of this room version'

  const eventId = pdu['event_id']
  // v1–v2.
  if (version.eventFormat === 'named' && !isEventIdJson(version, eventId))
    return '`event_id` is not an event ID of this room version'

  // v6+: within the integers of canonical JSON; before, of 64 bits.
  const depth = integerOf(pdu['depth'])
  if (depth === undefined || depth < 0) return '`depth` is not an integer within bounds'
  if (integerOf(pdu['origin_server_ts']) === undefined)
    return '`origin_server_ts` is not an integer within bounds'

  if (!isObject(hashes) || typeof hashes['sha256'] !== 'string') return '`hashes.sha256` is missing'
  if (!isBase64(hashes['sha256'])) return '`hashes.sha256` is not base64'
  return isSignatures(signatures) ? undefined : '`signatures` is malformed'
}

const isEventIdJson = (version: RoomVersion, id: unknown): id is string =>
  typeof id === 'string' && isEventIdOf(version, id)

const maxInt64 = 2n ** 63n - 1n

/** An integer as a number. What needs 64 bits (v1–v5) counts as the largest safe integer. */
function integerOf(value: Json | undefined): number | undefined {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : undefined
  if (!isRawNumber(value) || !/^-?\d{1,19}$/.test(value.rawJSON)) return undefined
  const big = BigInt(value.rawJSON)
  if (big > maxInt64 || big < -maxInt64) return undefined
  return big < 0n ? Number.MIN_SAFE_INTEGER : Number.MAX_SAFE_INTEGER
}

function isSignatures(value: Json | undefined): boolean {
  if (!isObject(value)) return false
  return Object.values(value).every(
    (keys) => isObject(keys) && Object.values(keys).every((key) => typeof key === 'string'),
  )
}

function checkLists(
  version: RoomVersion,
  pdu: JsonObject,
  { anyListLength = false }: ParseOptions,
): string | undefined {
  for (const key of ['prev_events', 'auth_events'] as const) {
    const list = pdu[key]
    if (!Array.isArray(list)) return `\`${key}\` is not a list`
    const limit = key === 'prev_events' ? maxPrevEvents : maxAuthEvents
    if (list.length > limit && !anyListLength) return `\`${key}\` has more than ${limit} entries`
    if (!list.every((entry) => isReference(version, entry)))
      return `\`${key}\` holds something that is no event of this room version`
  }
  return undefined
}

function isReference(version: RoomVersion, entry: Json): boolean {
  if (version.eventFormat === 'hashed') return isEventIdJson(version, entry)
  // v1–v2: pairs of an ID and its hashes. Nobody checks the hashes.
  return (
    Array.isArray(entry) &&
    entry.length === 2 &&
    isEventIdJson(version, entry[0]) &&
    isObject(entry[1])
  )
}

/** An event whose format was checked before, such as one from storage. */
export function toRoomEvent(
  version: RoomVersion,
  pdu: Pdu,
  eventId: string,
  roomId: string,
): RoomEvent {
  return {
    version,
    eventId,
    roomId,
    type: pdu.type,
    stateKey: pdu.state_key,
    sender: pdu.sender,
    content: pdu.content,
    depth: integerOf(pdu.depth) ?? 0,
    originServerTs: integerOf(pdu.origin_server_ts) ?? 0,
    prevEvents: referencesOf(version, pdu['prev_events']),
    authEvents: referencesOf(version, pdu['auth_events']),
    redacts: redactsOf(version, pdu),
    pdu,
  }
}

function referencesOf(version: RoomVersion, list: Json | undefined): readonly string[] {
  if (!Array.isArray(list)) return []
  return version.eventFormat === 'hashed'
    ? (list as string[])
    : list.map((entry) => (entry as [string])[0])
}

/** v1–v10: a top-level key; v11+: in the content. A target that is no text is no target. */
function redactsOf(version: RoomVersion, pdu: Pdu): string | undefined {
  if (pdu.type !== 'm.room.redaction') return undefined
  const target = version.redactsAtTopLevel ? pdu['redacts'] : pdu.content['redacts']
  return typeof target === 'string' && isShortText(target) ? target : undefined
}
