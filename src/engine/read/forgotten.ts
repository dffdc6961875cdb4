import { shardOf, shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import * as readKeys from '#store/room/read-keys.ts'
import * as userChanges from '#store/user/read-changes.ts'
import type { RoomRef } from './room-ref.ts'

/** A membership that a room may have been forgotten at. */
export type Departed = RoomRef & { readonly eventNid: number | undefined }

/** What is noted as forgotten where no event is left that says so. */
export const noMemberEvent = ''

/** Those of some rooms that the user forgot, and was no member of again since. */
export async function forgottenOf(
  sql: Sql,
  userId: string,
  departed: readonly Departed[],
): Promise<ReadonlySet<number>> {
  const found = new Set<number>()
  if (departed.length === 0) return found
  const roomIds = departed.map((each) => each.roomId)
  const rows = await userChanges.forgotten(sql, shardOf(userId), userId, roomIds)
  const events = new Map(rows.map((row) => [row.room_id, row.member_event]))
  const candidates = departed.filter((each) => events.has(each.roomId))
  if (candidates.length === 0) return found
  const ids = await eventIds(
    sql,
    candidates.flatMap(({ eventNid }) => eventNid ?? []),
  )
  for (const { roomId, roomNid, version, eventNid } of candidates) {
    const id = eventNid === undefined ? undefined : ids.get(eventNid)
    const current = eventNid === undefined ? noMemberEvent : id && unpackEventId(id, version)
    // A later membership voids what was forgotten.
    if (current === events.get(roomId)) found.add(roomNid)
  }
  return found
}

/** The ID of an event of a room. */
export async function eventIdOfNid(sql: Sql, room: RoomRef, nid: number): Promise<string> {
  return unpackEventId((await eventIds(sql, [nid])).get(nid)!, room.version)
}

async function eventIds(sql: Sql, nids: readonly number[]): Promise<Map<number, Uint8Array>> {
  const rows = await readKeys.eventIdsOf(sql, nids.map(shardOfNid), nids)
  return new Map(rows.map((row) => [row.event_nid, row.event_id]))
}
