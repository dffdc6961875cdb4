import type { JsonObject } from '#core/json.ts'
import type { Typing } from '#engine/live/typing.ts'
import type { View } from '#engine/read/positions.ts'
import type { TypingPoint } from '#engine/read/sync-token.ts'
import type { SyncRequest } from './plan.ts'
import type { ReceiptSection } from './receipts.ts'
import { readTyping, typingFilter } from './typing.ts'

export type EphemeralNews = {
  /** What passes in rooms, by room number. */
  readonly rooms: ReadonlyMap<number, readonly JsonObject[]>
  readonly typing: TypingPoint | undefined
}

/** What passes in the rooms of a user, and is no part of them. Spec: client-server-api/#syncing */
export function readEphemeral(
  { typing }: { readonly typing?: Typing },
  { filter, since }: Pick<SyncRequest, 'filter' | 'since'>,
  { places }: View,
  ignored: ReadonlySet<string>,
  receipts: ReceiptSection,
): EphemeralNews {
  const accepts = typingFilter(filter.rooms, filter.ephemeral)
  const news = readTyping(typing, places, accepts, ignored, since?.typing)
  const rooms = new Map(Array.from(news.rooms, ([roomNid, event]) => [roomNid, [event]]))
  for (const [roomNid, event] of receipts) {
    const events = rooms.get(roomNid)
    if (events) events.push(event)
    else rooms.set(roomNid, [event])
  }
  return {
    rooms,
    typing: news.point,
  }
}
