import type { RoomVersion } from '#core/room-version.ts'

/**
 * Event IDs as they are stored: the 32 bytes of the hash, or the UTF-8 text in v1 and v2. Only the
 * latter have a colon.
 *
 * Spec: rooms/v4/#event-ids
 */
export function packEventId(eventId: string): Uint8Array {
  if (eventId.length === 44 && !eventId.includes(':')) {
    // Takes both alphabets of base64: standard in v3, URL-safe later.
    const bytes = Buffer.from(eventId.slice(1), 'base64')
    if (bytes.length === 32) return bytes
  }
  return Buffer.from(eventId)
}

/** The ID that `packEventId` packed, in a room of this version. */
export function unpackEventId(
  packed: Uint8Array,
  version: Pick<RoomVersion, 'eventFormat' | 'eventIdBase64'>,
): string {
  const bytes = Buffer.from(packed.buffer, packed.byteOffset, packed.byteLength)
  if (version.eventFormat === 'named') return bytes.toString()
  if (version.eventIdBase64 === 'url') return `$${bytes.toString('base64url')}`
  return `$${bytes.toString('base64').slice(0, 43)}`
}
