import {
  type HistoryVisibility,
  historyVisibilityOf,
} from '#core/content/m.room.history_visibility.ts'
import { type Membership, membershipOf } from '#core/content/m.room.member.ts'
import type { RoomEvent } from '#core/event/pdu.ts'

/**
 * Who may see an event. It depends on the room at that event, not on the room of today.
 *
 * Spec: client-server-api/#room-history-visibility
 */
export type Sight = Readonly<{
  /** The room's visibility before the event. */
  visibility: HistoryVisibility
  /** The reader's membership before the event; undefined if there was none. */
  membership: Membership | undefined
  /** Whether the reader joined the room at any point after the event. */
  joinedSince: boolean
}>

/** What of an event counts. */
export type SeenEvent = Pick<RoomEvent, 'type' | 'stateKey' | 'content'>

/** Whether a user may see an event. */
export function isVisible(event: SeenEvent, userId: string, before: Sight): boolean {
  if (sees(before)) return true
  // A change of visibility is seen if the visibility before or after it would do.
  if (event.type === 'm.room.history_visibility' && event.stateKey === '')
    return sees({ ...before, visibility: historyVisibilityOf(event.content) })
  // So is a change of one's own membership.
  if (event.type === 'm.room.member' && event.stateKey === userId)
    return sees({ ...before, membership: membershipOf(event.content) })
  return false
}

function sees({ visibility, membership, joinedSince }: Sight): boolean {
  // 1. The visibility is world_readable.
  if (visibility === 'world_readable') return true
  // 2. The user was joined.
  if (membership === 'join') return true
  // 3. The visibility is shared, and the user joined later.
  if (visibility === 'shared') return joinedSince
  // 4. The visibility is invited, and the user was invited. 5. Otherwise not.
  return visibility === 'invited' && membership === 'invite'
}

/**
 * Whether a server that is in the room may be given an event in full: what one of its users might
 * see. `memberships` are those of its users before and after the event.
 *
 * Not spec: the spec says nothing of servers; this is what Synapse does.
 */
export function isVisibleToServer(
  visibility: HistoryVisibility,
  memberships: Iterable<Membership>,
): boolean {
  if (visibility === 'world_readable' || visibility === 'shared') return true
  for (const membership of memberships) {
    if (membership === 'join') return true
    if (visibility === 'invited' && membership === 'invite') return true
  }
  return false
}
