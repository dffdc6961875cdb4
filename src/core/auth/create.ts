import { allow, reject, type Verdict } from '#core/verdict.ts'
import { roomVersions } from '#core/room-version.ts'
import { isUserId, domainOf } from '#core/ids.ts'
import type { RoomEvent } from '#core/event/pdu.ts'

/**
 * Rule 1: `m.room.create`.
 *
 * Spec: rooms/v12/#authorization-rules
 */
export function authorizeCreate(event: RoomEvent): Verdict {
  // 1.1: It has prev_events: reject.
  if (event.prevEvents.length > 0) return reject('A create event cannot follow another event')
  if (event.version.createEventIsRoomId) {
    // 1.2, v12+: It has a room_id: reject.
    if (Object.hasOwn(event.pdu, 'room_id')) return reject('A create event cannot name its room')
  } else if (domainOf(event.roomId) !== domainOf(event.sender)) {
    // 1.2, v1–v11: The domain of room_id is not the sender's: reject.
    return reject('The room ID and the sender of the create event are of different servers')
  }
  const { content, version } = event
  // 1.3: room_version is present, and not known: reject.
  if (Object.hasOwn(content, 'room_version')) {
    const named = content['room_version']
    if (typeof named !== 'string' || !roomVersions.has(named))
      return reject('The create event names an unknown room version')
  }
  // 1.4, v1–v10: content has no creator: reject.
  if (version.creatorInContent && !Object.hasOwn(content, 'creator'))
    return reject('The create event names no creator')
  // 1.4, v12+: additional_creators is present, and not an array of user IDs: reject.
  if (version.privilegedCreators && Object.hasOwn(content, 'additional_creators')) {
    const additional = content['additional_creators']
    if (
      !Array.isArray(additional) ||
      !additional.every((id) => typeof id === 'string' && isUserId(id))
    )
      return reject('additional_creators is not a list of user IDs')
  }
  // 1.5: Otherwise allow.
  return allow
}
