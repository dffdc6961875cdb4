import { type ParseOptions, toRoomEvent } from '#core/event/check.ts'
import { judgeRead, type Read, readPdu } from '#core/event/receive.ts'
import { parseJson } from '#core/canonical-json.ts'
import type { PolicyServer } from '#core/content/m.room.policy.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import type { NeededKeys } from '#core/event/signatures.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { KeyCache } from '#engine/room/keys.ts'
import type { Parkable } from '#engine/room/inbox/park.ts'
import type { Room } from '#engine/room/room.ts'
import type { CheckedPdu } from '#engine/worker/protocol.ts'

/** An event of another server that passed the first three checks and may be decided. */
export type Incoming = Parkable & {
  readonly event: RoomEvent
  /** What is persisted: its canonical JSON. */
  readonly text: string
  /** Set if a signature that an auth rule asks for is missing. */
  readonly rejection: string | undefined
  /** Inbox rows that hold it; more are added when it comes again. None if it was fetched. */
  readonly inboxIds: number[]
  /** The state before it, if that was fetched because its prev_events cannot be had. */
  readonly before?: StateMap
  /**
   * Set if it is history behind a gap: numbers of events that have their place, and of which it is an
   * ancestor by way of what was missing.
   */
  readonly behind?: readonly number[]
  /** Set if a policy server was asked to sign it, and it is not signed. */
  readonly unsigned?: { readonly server: PolicyServer; readonly reason: string }
  /** It was parked, and what it lacked has come. */
  released?: true
  /** The room, as it is loaded, that did not know it when it was looked for with many others. */
  newTo?: Room
  /** The numbers of what it is made of, if they were looked up with those of others. */
  numbers?: Interned
}

/** A PDU as it came: from the inbox, or as the answer of another server. */
export type Raw = {
  readonly json: string
  readonly origin: string
  readonly inboxId?: number
  /** What the intake knows of it: then `json` is canonical, and an event of the lane's room. */
  readonly checked?: CheckedPdu
  /** Its keys were asked for already. */
  readonly lastTry?: boolean
}

export type Judged =
  | { readonly outcome: 'accept'; readonly incoming: Incoming; readonly redacted: boolean }
  | { readonly outcome: 'drop'; readonly reason: string }
  | { readonly outcome: 'missing'; readonly keys: readonly NeededKeys[] }

/**
 * Checks 1 to 3 on receipt of a PDU: format, signatures, hash. It is synchronous; an event whose keys
 * are not in memory has to come again.
 *
 * Spec: server-server-api/#checks-performed-on-receipt-of-a-pdu
 */
export function judge(
  raw: Raw,
  version: RoomVersion,
  roomId: string | undefined,
  keys: KeyCache,
  now: number,
  options: { anyListLength?: boolean } = {},
): Judged {
  const read = readRaw(raw, version, { roomId, ...options })
  if (typeof read === 'string') return { outcome: 'drop', reason: read }
  const received = judgeRead(read, { keys: keys.lookup, now })
  if (received.outcome !== 'accept') return received
  const { event, text, rejection, redacted } = received
  const inboxIds = raw.inboxId === undefined ? [] : [raw.inboxId]
  return {
    outcome: 'accept',
    redacted,
    incoming: { eventId: event.eventId, event, text, origin: raw.origin, rejection, inboxIds },
  }
}

/** Checks 1 and 3, unless the intake has made them; a text says why the event is dropped. */
function readRaw(
  { json: text, checked }: Raw,
  version: RoomVersion,
  options: ParseOptions,
): Read | string {
  const json = parseJson(text)
  if (json === undefined) return 'The event is not JSON'
  const { roomId } = options
  if (checked?.version !== version.id || roomId === undefined)
    return readPdu(version, json, options)
  const event = toRoomEvent(version, json as Pdu, checked.eventId, roomId)
  return { event, text, redacted: false, signed: checked.signed }
}
