import { canonicalJson } from '#core/canonical-json.ts'
import { redactUnsigned } from '#core/event/redact.ts'
import { type JsonObject, without } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * Content hashes, reference hashes and event IDs. All are undefined for an event that has no
 * canonical JSON in its room version; nothing that passed `parsePdu` is such an event.
 *
 * Spec: server-server-api/#calculating-the-content-hash-for-an-event
 */

/** Canonical JSON as strict as the events of this version need it (v6+: enforced). */
export const canonicalEvent = (version: RoomVersion, value: JsonObject): string | undefined =>
  canonicalJson(value, version.strictCanonicalJson ? 'strict' : 'tolerant')

/** What the content hash covers: all but `unsigned`, `signatures` and `hashes`, unredacted. */
export const hashedText = (version: RoomVersion, event: JsonObject): string | undefined =>
  canonicalEvent(version, without(event, 'hashes', 'signatures', 'unsigned'))

/** What signatures and the reference hash cover: the redacted event without its signatures. */
export const redactedText = (version: RoomVersion, event: JsonObject): string | undefined =>
  canonicalEvent(version, redactUnsigned(version, event))

/** SHA-256 of a text as unpadded base64. */
export const sha256 = (text: string): string => Bun.SHA256.hash(text, 'base64').slice(0, 43)

/** The same in the alphabet of a version's event IDs. */
export const sha256Id = ({ eventIdBase64 }: RoomVersion, text: string): string =>
  eventIdBase64 === 'url' ? Bun.SHA256.hash(text, 'base64url').slice(0, 43) : sha256(text)

/** The value of `hashes.sha256` that belongs to an event. */
export function contentHash(version: RoomVersion, event: JsonObject): string | undefined {
  const text = hashedText(version, event)
  return text === undefined ? undefined : sha256(text)
}

/** The reference hash of an event in the base64 alphabet of its version's event IDs. */
export function referenceHash(version: RoomVersion, event: JsonObject): string | undefined {
  const text = redactedText(version, event)
  return text === undefined ? undefined : sha256Id(version, text)
}

/** The ID of an event: its own `event_id` (v1–v2), or its reference hash (v3+). */
export function eventIdOf(version: RoomVersion, event: JsonObject): string | undefined {
  if (version.eventFormat === 'named') {
    const eventId = event['event_id']
    return typeof eventId === 'string' ? eventId : undefined
  }
  const hash = referenceHash(version, event)
  return hash === undefined ? undefined : `$${hash}`
}
