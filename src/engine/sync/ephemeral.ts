import type { JsonObject } from '#core/json.ts'
import type { Presence } from '#engine/live/presence.ts'
import type { Typing } from '#engine/live/typing.ts'
import type { View } from '#engine/read/positions.ts'
import type { SyncToken } from '#engine/read/sync-token.ts'
import type { SyncRequest } from './plan.ts'
import { readPresence } from './presence.ts'
import type { ReceiptSection } from './receipts.ts'
import { readTyping, typingFilter } from './typing.ts'

export type PassingNews = {
  /** What passes in rooms, by room number. */
  readonly ephemeral: ReadonlyMap<number, readonly JsonObject[]>
  readonly presence: readonly JsonObject[]
  /** For the answer's token. */
  readonly points: Pick<SyncToken, 'typing' | 'presence'>
}

/** What passes in the rooms of a user, and is no part of them. Spec: client-server-api/#syncing */
export function readPassing(
  live: { readonly typing?: Typing; readonly presence?: Presence | undefined },
  { filter, since }: Pick<SyncRequest, 'filter' | 'since'>,
  view: View,
  ignored: ReadonlySet<string>,
  receipts: ReceiptSection,
  newRooms: readonly { readonly roomNid: number }[],
): PassingNews {
  const accepts = typingFilter(filter.rooms, filter.ephemeral)
  const news = readTyping(live.typing, view.places, accepts, ignored, since?.typing)
  const ephemeral = new Map(Array.from(news.rooms, ([roomNid, event]) => [roomNid, [event]]))
  for (const [roomNid, event] of receipts) {
    const events = ephemeral.get(roomNid)
    if (events) events.push(event)
    else ephemeral.set(roomNid, [event])
  }
  const told = readPresence(live.presence, { filter, since, ignored }, view.byRoom, newRooms)
  return {
    ephemeral,
    presence: told.events,
    points: {
      ...(news.point && { typing: news.point }),
      ...(told.point && { presence: told.point }),
    },
  }
}
