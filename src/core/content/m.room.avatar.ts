import type { JsonObject } from '#core/json.ts'

/**
 * The picture of a room: `m.room.avatar`.
 *
 * Spec: client-server-api/#mroomavatar
 */
export function roomAvatarOf(content: JsonObject | undefined): string | undefined {
  const url = content?.['url']
  return typeof url === 'string' && url !== '' ? url : undefined
}
