import type { RoomVersion } from '#core/room-version.ts'

/**
 * Event IDs as they are stored: the 32 bytes of the hash, or the UTF-8 text in v1 and v2. Only the
 * latter have a colon.
 *
 * Spec: rooms/v4/#event-ids
 */
export function packEventId(eventId: string): Uint8Array {
  // 43 characters hold 258 bits: the last one must not say more than the hash does, or two IDs would
  // be one. Takes both alphabets of base64, standard in v3 and URL-safe later.
  if (eventId.length === 44 && /[AEIMQUYcgkosw048]$/.test(eventId) && !eventId.includes(':')) {
    const alphabet = /[+/]/.test(eventId) ? 'base64' : 'base64url'
    try {
      const bytes = Uint8Array.fromBase64(eventId.slice(1), { alphabet })
      if (bytes.length === 32) return bytes
    } catch {
      // A name in v1 or v2 that only looks like a hash.
    }
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

/** How bytes are written inside JSON that PostgreSQL unpacks into rows. */
export const byteaText = (bytes: Uint8Array): string => `\\x${bytes.toHex()}`
