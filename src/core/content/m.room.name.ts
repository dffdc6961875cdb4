import type { JsonObject } from '#core/json.ts'

/**
 * The name of a room: `m.room.name`. An empty one is none.
 *
 * Spec: client-server-api/#mroomname
 */
export function roomNameOf(content: JsonObject | undefined): string | undefined {
  const name = content?.['name']
  return typeof name === 'string' && name !== '' ? name : undefined
}
