import { namedLevel, userLevel } from '#core/auth/levels.ts'
import { isHistoryType } from '#core/content/msc2716.ts'
import { forbidden } from '#core/error.ts'
import type { StateLookup } from '#core/event/auth-events.ts'
import { domainOf } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'

/** Whether a user's power is enough to redact what others sent. */
function mayRedact(state: StateLookup, create: RoomEvent, sender: string): boolean {
  const levels = state('m.room.power_levels', '')
  return userLevel(create, levels, sender) >= namedLevel(levels, 'redact')
}

/**
 * Whether a redaction counts, its target being known.
 *
 * Spec: rooms/v3/#handling-redactions
 */
export function redactionCounts(
  redaction: RoomEvent,
  target: RoomEvent,
  create: RoomEvent,
  state: StateLookup,
): boolean {
  // v1–v2: the auth rules have said so already.
  if (redaction.version.redactionsAreAuthorized) return true
  // 1: The sender's level is at least the redact level.
  if (mayRedact(state, create, redaction.sender)) return true
  // 2: Both senders are of one server.
  return domainOf(redaction.sender) === domainOf(target.sender)
}

/**
 * Refuses a redaction that a local user may not make: other servers would take it, and leave it
 * without effect, or take it from any user of the sender's server.
 *
 * Spec: client-server-api/#redactions
 */
export function* checkLocalRedaction(
  parts: Parts,
  room: Room,
  sender: string,
  target: string,
  state: StateLookup,
): Task<void> {
  const found = (yield* parts.events.byIds(room, [target])).get(target)
  // MSC2716: what is left of such an event, where it is none of the version's own, ties nothing together.
  if (found && !room.version.historicalPower && isHistoryType(found.event.type))
    throw forbidden('Redacting MSC2716 events is not supported in this room version')
  if (room.create && mayRedact(state, room.create, sender)) return
  if (found && found.event.sender !== sender)
    throw forbidden("The sender's power is too low to redact what others sent")
}
