import type { JsonObject } from '#core/json.ts'

/**
 * What the server reads of `m.room.history_visibility`.
 *
 * Spec: client-server-api/#mroomhistory_visibility
 */
export type HistoryVisibility = 'invited' | 'joined' | 'shared' | 'world_readable'

/** The visibility of a room: `shared` without an event, and for a value that is not understood. */
export function historyVisibilityOf(content: JsonObject | undefined): HistoryVisibility {
  const visibility = content?.['history_visibility']
  return visibility === 'invited' || visibility === 'joined' || visibility === 'world_readable'
    ? visibility
    : 'shared'
}
