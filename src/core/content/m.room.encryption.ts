import type { JsonObject } from '#core/json.ts'

/**
 * How a room is encrypted, if it is: `m.room.encryption`.
 *
 * Spec: client-server-api/#mroomencryption
 */
export function algorithmOf(content: JsonObject | undefined): string | undefined {
  const algorithm = content?.['algorithm']
  return typeof algorithm === 'string' ? algorithm : undefined
}
