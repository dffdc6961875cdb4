import { canonicalEvent, contentHash } from '#core/event/hash.ts'
import { signEvent } from '#core/event/build.ts'
import type { JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions, stableVersions } from '#core/room-version.ts'
import type { KeyLookup, ServerKey } from '#core/server-keys.ts'
import { SigningKey } from '#core/signing.ts'

export const versions = [...stableVersions.values()]
export const version = (id: string): RoomVersion => roomVersions.get(id)!

/** A reference as each version writes it. */
export const eventId = (of: RoomVersion, name: string): string =>
  of.eventFormat === 'named' ? `$${name}:hs1` : `$${name.padEnd(42, 'a')}A`
const reference = (of: RoomVersion, name: string) =>
  of.eventFormat === 'named' ? [eventId(of, name), { sha256: 'x' }] : eventId(of, name)

export const roomIdOf = (of: RoomVersion): string =>
  of.createEventIsRoomId ? `!${'r'.padEnd(42, 'a')}A` : '!room:hs1'

/** A message of @alice:hs1 as it would come in, without hash and signature. */
export function message(of: RoomVersion, changes: JsonObject = {}): JsonObject {
  return {
    auth_events: [reference(of, 'create'), reference(of, 'member')],
    content: { body: 'hello', msgtype: 'm.text' },
    depth: 5,
    ...(of.eventFormat === 'named' && { event_id: '$message:hs1' }),
    origin_server_ts: 1_000_000,
    prev_events: [reference(of, 'before')],
    room_id: roomIdOf(of),
    sender: '@alice:hs1',
    type: 'm.room.message',
    ...changes,
  }
}

export const keys: Record<string, SigningKey> = {
  hs1: new SigningKey('1', new Uint8Array(32).fill(1)),
  hs2: new SigningKey('2', new Uint8Array(32).fill(2)),
  hs3: new SigningKey('3', new Uint8Array(32).fill(3)),
}

export const now = 2_000_000

export const serverKey = (server: string): ServerKey => ({
  publicKey: keys[server]!.publicKey,
  validUntilTs: now + 1000,
  old: false,
})

/** Knows the one key of each of the three servers. */
export const lookup: KeyLookup = (server, keyId) =>
  keys[server]?.keyId === keyId ? serverKey(server) : undefined

/** Hashes a PDU and signs it as these servers. */
export function seal(of: RoomVersion, pdu: JsonObject, ...servers: readonly string[]): JsonObject {
  const hashes = { sha256: contentHash(of, pdu) ?? 'none' }
  return sign(of, { ...pdu, hashes, signatures: {} }, ...(servers.length > 0 ? servers : ['hs1']))
}

/** Adds the signatures of servers. */
export const sign = (of: RoomVersion, pdu: JsonObject, ...servers: readonly string[]): JsonObject =>
  servers.reduce(
    (signed, serverName) => signEvent(of, signed, { serverName, key: keys[serverName]! }),
    pdu,
  )

/** A message whose canonical form, signatures and all, has exactly this many bytes. */
export function messageOfSize(of: RoomVersion, bytes: number): JsonObject {
  const empty = seal(of, message(of, { content: { body: '' } }))
  const missing = bytes - Buffer.byteLength(canonicalEvent(of, empty)!)
  return seal(of, message(of, { content: { body: 'x'.repeat(missing) } }))
}
