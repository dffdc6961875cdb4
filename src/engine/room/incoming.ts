import { canonicalEvent } from '#core/event/hash.ts'
import { type Received, receivePdu } from '#core/event/receive.ts'
import { parseJson } from '#core/canonical-json.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { NeededKeys } from '#core/event/signatures.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { Interned } from '#store/room/intern.ts'
import type { StateMap } from '#store/room/state-map.ts'
import type { KeyCache } from '#engine/room/keys.ts'
import type { Parkable } from '#engine/room/park.ts'
import type { Room } from '#engine/room/room.ts'

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
  const json = parseJson(raw.json)
  if (json === undefined) return { outcome: 'drop', reason: 'The event is not JSON' }
  const received: Received = receivePdu(version, json, {
    keys: keys.lookup,
    now,
    roomId,
    ...options,
  })
  if (received.outcome !== 'accept') return received
  const { event, rejection, redacted } = received
  // What was checked has a canonical form.
  const text = canonicalEvent(version, event.pdu)!
  const inboxIds = raw.inboxId === undefined ? [] : [raw.inboxId]
  return {
    outcome: 'accept',
    redacted,
    incoming: { eventId: event.eventId, event, text, origin: raw.origin, rejection, inboxIds },
  }
}
