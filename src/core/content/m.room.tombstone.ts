import { isRoomId } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'

/**
 * The room that replaces this one: `m.room.tombstone`.
 *
 * Spec: client-server-api/#mroomtombstone
 */
export function replacementRoomOf(content: JsonObject | undefined): string | undefined {
  const roomId = content?.['replacement_room']
  return typeof roomId === 'string' && isRoomId(roomId) ? roomId : undefined
}
