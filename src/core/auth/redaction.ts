import { allow, reject, type Verdict } from '#core/verdict.ts'
import { domainOf } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { RoomState } from './room.ts'

/**
 * Rule 11 of v1–v2: `m.room.redaction`. From v3 on redactions are judged like any other event, and
 * applied when their target is known.
 *
 * Spec: rooms/v1/#authorization-rules
 */
export function authorizeRedaction(event: RoomEvent, room: RoomState): Verdict {
  // 11.1: The sender's level is at least the redact level: allow.
  if (room.levelOf(event.sender) >= room.named('redact')) return allow
  // 11.2: The IDs of the redaction and of its target are of one domain: allow.
  if (event.redacts !== undefined && domainOf(event.redacts) === domainOf(event.eventId))
    return allow
  // 11.3: Otherwise reject.
  return reject('The sender may not redact events of other servers')
}
