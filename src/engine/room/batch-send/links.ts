import { type HistoryLink, historyLink, mayPutIn } from '#core/content/msc2716.ts'
import { invalidParam } from '#core/error.ts'
import type { AuthSubject } from '#core/event/auth-events.ts'
import type { RoomPart } from '#store/room/batch.ts'
import * as historyLinks from '#store/room/history-links.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** An insertion or batch event that counts, and what it offers or takes up. */
export type Linked = HistoryLink & { readonly nid: number }

/** What an event links, if that counts: refused events and those of others than the creator do not. */
export function linkOf(
  room: Pick<Room, 'version' | 'create'>,
  { event, flags }: { event: AuthSubject; flags: number },
): HistoryLink | undefined {
  const link = historyLink(event)
  if (!link || flags !== 0) return undefined
  return mayPutIn(room.version, room.create, event.sender) ? link : undefined
}

/** Refuses an insertion event that offers what another offers already: nobody could tell what hangs on which. */
export function* checkLocalLink(parts: Parts, room: Room, event: AuthSubject): Task<void> {
  const link = linkOf(room, { event, flags: 0 })
  if (!link?.isInsertion) return
  const links = yield* findLinks(parts, room, [link.batchId])
  if ([...links.values()].some(({ isInsertion }) => isInsertion))
    throw invalidParam('Another insertion event already exists with the same next_batch_id')
}

/** Writes down what an event links, as it becomes one of the room. */
export function noteLink(room: Room, known: Known, part: RoomPart): void {
  const link = linkOf(room, known)
  if (link) part.history.push({ kind: 'link', eventNid: known.nid, ...link })
}

/** What is linked by some batch IDs, committed or not. */
export function* findLinks(
  parts: Parts,
  room: Room,
  batchIds: readonly string[],
): Task<Map<number, Linked>> {
  const found = new Map<number, Linked>()
  if (batchIds.length === 0) return found
  const rows = yield* wait(historyLinks.linksOf(parts.sql, room.shard, room.nid, batchIds))
  for (const { event_nid: nid, batch_id: batchId, is_insertion: isInsertion } of rows)
    found.set(nid, { nid, batchId, isInsertion })
  for (const known of room.uncommitted.values()) {
    const link = linkOf(room, known)
    if (link && batchIds.includes(link.batchId)) found.set(known.nid, { nid: known.nid, ...link })
  }
  return found
}
