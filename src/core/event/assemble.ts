import { canonicalJson } from '#core/canonical-json.ts'
import { formatFault, toRoomEvent } from '#core/event/check.ts'
import { sha256, sha256Id } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { redactContent } from '#core/event/redact.ts'
import { roomIdOfCreate } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { SigningKey } from '#core/signing.ts'

/** All that an event of ours is made of. */
export type PlainEvent = Readonly<{
  roomId: string | undefined
  type: string
  sender: string
  stateKey: string | undefined
  content: JsonObject
  prevEvents: readonly string[]
  authEvents: readonly string[]
  depth: number
  originServerTs: number
  /** v6–v10: the key at the top. */
  redacts: string | undefined
}>

/**
 * Hashes and signs an event of v6+ of which every key is known. What is hashed, what is signed and the whole
 * differ only in a few of their pieces: each is written once. Undefined for an event that may have to be
 * refused: whoever seals it as a template finds out why.
 */
export function assemble(
  version: RoomVersion,
  plain: PlainEvent,
  { serverName, key }: { serverName: string; key: SigningKey },
): { event: RoomEvent; text: string } | undefined {
  const { roomId, type, sender, stateKey, content, depth, originServerTs, redacts } = plain
  if (!Number.isSafeInteger(depth) || !Number.isSafeInteger(originServerTs)) return undefined
  const whole = isObject(content) ? canonicalJson(content) : undefined
  if (whole === undefined) return undefined
  const kept = redactContent(version, type, content)
  const left = kept === content ? whole : canonicalJson(kept)!

  // In the order of their names, with what comes between them.
  const auths = `{"auth_events":${JSON.stringify(plain.authEvents)},"content":`
  const prevs = `,"origin_server_ts":${originServerTs},"prev_events":${JSON.stringify(plain.prevEvents)}`
  const target = redacts === undefined ? '' : `,"redacts":${JSON.stringify(redacts)}`
  const room = roomId === undefined ? '' : `,"room_id":${JSON.stringify(roomId)}`
  const who = `${room},"sender":${JSON.stringify(sender)}`
  const state = stateKey === undefined ? '' : `,"state_key":${JSON.stringify(stateKey)}`
  const last = `${state},"type":${JSON.stringify(type)}}`
  // Perhaps half a character, which is no text.
  if ((auths + prevs + target + who + last).includes('\\ud')) return undefined

  const hash = sha256(`${auths}${whole},"depth":${depth}${prevs}${target}${who}${last}`)
  const sums = `,"depth":${depth},"hashes":{"sha256":"${hash}"}${prevs}`
  const signed = `${auths}${left}${sums}${who}${last}`
  const signatures = { [serverName]: { [key.keyId]: key.sign(signed) } }
  const seal = `,"signatures":${JSON.stringify(signatures)}`
  const text = `${auths}${whole}${sums}${target}${who}${seal}${last}`

  const pdu: Pdu = {
    auth_events: plain.authEvents as string[],
    content,
    depth,
    hashes: { sha256: hash },
    origin_server_ts: originServerTs,
    prev_events: plain.prevEvents as string[],
    ...(redacts !== undefined && { redacts }),
    ...(roomId !== undefined && { room_id: roomId }),
    sender,
    signatures,
    ...(stateKey !== undefined && { state_key: stateKey }),
    type,
  }
  if (formatFault(version, pdu, {}) !== undefined) return undefined
  const eventId = `$${sha256Id(version, signed)}`
  return { event: toRoomEvent(version, pdu, eventId, roomId ?? roomIdOfCreate(eventId)), text }
}
