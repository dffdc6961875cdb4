import { decodeBase64 } from '#core/base64.ts'
import { inspectPdu, type ParseOptions, toRoomEvent } from '#core/event/check.ts'
import { canonicalEvent, sha256 } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { redact } from '#core/event/redact.ts'
import { checkEventSignatures, type NeededKeys } from '#core/event/signatures.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { KeyLookup } from '#core/server-keys.ts'

/**
 * Steps 1 to 3 of the checks on a PDU: format, signatures, hash. Steps 4 to 7 need the room.
 *
 * Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
 */
export type Received =
  | Readonly<{
      outcome: 'accept'
      event: RoomEvent
      /** Its canonical form. */
      text: string
      /** The content hash did not match: what is left is the redacted copy. */
      redacted: boolean
      /** The event must be rejected, and stays in the DAG: a signature that an auth rule asks for is not there. */
      rejection: string | undefined
    }>
  | Readonly<{ outcome: 'drop'; reason: string }>
  /** Get these keys and call again, the last time with `lastTry`. */
  | Readonly<{ outcome: 'missing'; keys: readonly NeededKeys[] }>

export type ReceiveOptions = ParseOptions &
  Readonly<{
    keys: KeyLookup
    now: number
    /**
     * The keys that are still missing cannot be had. The event is dropped then, not rejected, also if
     * only an auth rule asks for them: with the keys, another server may judge otherwise.
     */
    lastTry?: boolean
  }>

/** A PDU from the network after the steps that need no key. */
export type Read = Readonly<{
  event: RoomEvent
  /** Its canonical form. */
  text: string
  redacted: boolean
  /** What the signatures cover. */
  signed: string
}>

/** Judges one PDU from the network. */
export function receivePdu(version: RoomVersion, json: unknown, options: ReceiveOptions): Received {
  const read = readPdu(version, json, options)
  return typeof read === 'string' ? { outcome: 'drop', reason: read } : judgeRead(read, options)
}

/** Steps 1 and 3; a text says why the event is dropped. */
export function readPdu(
  version: RoomVersion,
  json: unknown,
  options: ParseOptions = {},
): Read | string {
  // 1. The format.
  const inspected = inspectPdu(version, json, options)
  if (typeof inspected === 'string') return inspected

  // 3. The hash, first because it is cheap, and because it decides which event goes on: a key that
  // redaction drops, such as `third_party_invite`, must not excuse the copy without it from a
  // signature.
  const { signed, hashed } = inspected
  if (hashMatches(inspected.event.pdu, hashed))
    return { event: inspected.event, text: inspected.text, redacted: false, signed }
  const event = redactEvent(inspected.event)
  // What is left of what has a canonical form has one.
  return { event, text: canonicalEvent(version, event.pdu)!, redacted: true, signed }
}

/** Step 2, for what passed the others. */
export function judgeRead(
  { event, text, redacted, signed }: Read,
  { keys, now, lastTry = false }: Pick<ReceiveOptions, 'keys' | 'now' | 'lastTry'>,
): Received {
  // 2. The signatures.
  const check = checkEventSignatures(event, keys, now, signed)
  if (check.outcome === 'missing' && lastTry) {
    const servers = check.keys.map(({ server }) => server).join(', ')
    return { outcome: 'drop', reason: `The keys of ${servers} cannot be had` }
  }
  if (check.outcome === 'drop' || check.outcome === 'missing') return check
  const rejection = check.outcome === 'reject' ? check.reason : undefined
  return { outcome: 'accept', event, text, redacted, rejection }
}

function hashMatches(pdu: Pdu, hashed: string): boolean {
  const actual = sha256(hashed)
  const { sha256: claimed } = pdu.hashes
  if (claimed === actual) return true
  // Padding and the other alphabet are only another spelling.
  return decodeBase64(claimed)?.toBase64({ omitPadding: true }) === actual
}

/** The redacted copy of an event, with the same ID. */
export function redactEvent(event: RoomEvent): RoomEvent {
  const pdu = redact(event.version, event.pdu) as Pdu
  return toRoomEvent(event.version, pdu, event.eventId, event.roomId)
}
