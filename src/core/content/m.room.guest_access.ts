import type { JsonObject } from '#core/json.ts'

/**
 * Whether guests may join: `m.room.guest_access`.
 *
 * Spec: client-server-api/#mroomguest_access
 */
export const guestsMayJoin = (content: JsonObject | undefined): boolean =>
  content?.['guest_access'] === 'can_join'
