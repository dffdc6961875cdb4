import type { EventFilter } from '#core/filter.ts'
import type { JsonObject } from '#core/json.ts'
import type { Typing } from '#engine/live/typing.ts'
import type { Place } from '#engine/read/places.ts'
import type { TypingPoint } from '#engine/read/sync-token.ts'

export type TypingNews = {
  /** By room number. */
  readonly rooms: ReadonlyMap<number, JsonObject>
  /** For the answer's token. */
  readonly point: TypingPoint | undefined
}

/** Rooms that a token remembers as not quiet. */
const maxRooms = 16

/**
 * Who types in the rooms of a user where that changed since a point. A point of another life of the
 * server says nothing but which rooms to quieten.
 */
export function readTyping(
  typing: Typing | undefined,
  places: readonly Place[],
  accepts: (roomId: string) => boolean,
  ignored: ReadonlySet<string>,
  since: TypingPoint | undefined,
): TypingNews {
  const rooms = new Map<number, JsonObject>()
  if (!typing) return { rooms, point: since }
  const { at, epoch } = typing
  const known = since?.epoch === epoch
  if (known ? since.at === at : at === 0 && !since?.rooms.length)
    return { rooms, point: known ? since : { epoch, at, rooms: [] } }
  const told = new Set(since?.rooms)
  const low = known ? since.at : 0
  const loud: number[] = []
  for (const { roomNid, roomId, membership } of places) {
    if (membership !== 'join' || !accepts(roomId)) continue
    const found = typing.find(roomNid)
    const userIds = found?.userIds.filter((userId) => !ignored.has(userId)) ?? []
    if (userIds.length > 0 && loud.length < maxRooms) loud.push(roomNid)
    const isNews = found !== undefined && found.at > low && (known || userIds.length > 0)
    if (isNews || (told.has(roomNid) && userIds.length === 0))
      rooms.set(roomNid, { type: 'm.typing', content: { user_ids: userIds } })
  }
  return { rooms, point: { epoch, at, rooms: loud } }
}

/** Whether a filter lets lists of who types in a room through. */
export const typingFilter =
  (rooms: { accepts(roomId: string): boolean }, ephemeral: EventFilter) =>
  (roomId: string): boolean =>
    rooms.accepts(roomId) &&
    ephemeral.rooms.accepts(roomId) &&
    ephemeral.accepts({ type: 'm.typing', content: {} })
