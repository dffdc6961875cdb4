import { isRoomId } from '#core/ids.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'

/**
 * What the server reads of `m.room.join_rules`.
 *
 * Spec: client-server-api/#mroomjoin_rules
 */

/** The join rule of a room: `invite` without an event, and for a value that is no text. */
export function joinRuleOf(content: JsonObject | undefined): string {
  const rule = content?.['join_rule']
  return typeof rule === 'string' ? rule : 'invite'
}

/** Whether a join rule lets members of other rooms in, in this room version. */
export const isRestricted = (version: RoomVersion, rule: string): boolean =>
  (version.restrictedJoins && rule === 'restricted') ||
  (version.knockRestricted && rule === 'knock_restricted')

/** Whether a join rule lets users knock, in this room version. */
export const allowsKnocking = (version: RoomVersion, rule: string): boolean =>
  (version.knocking && rule === 'knock') || (version.knockRestricted && rule === 'knock_restricted')

/** The rooms whose members a restricted rule lets in. */
export function allowedRoomsOf(content: JsonObject): string[] {
  const allow = content['allow']
  if (!Array.isArray(allow)) return []
  return allow.flatMap((condition) => {
    if (!isObject(condition) || condition['type'] !== 'm.room_membership') return []
    const roomId = condition['room_id']
    return typeof roomId === 'string' && isRoomId(roomId) ? [roomId] : []
  })
}
