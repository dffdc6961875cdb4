import * as listRooms from '#store/room/list-rooms.ts'
import type { Sql } from '#store/db.ts'
import { type ReadEvent, loadEvents } from './events.ts'
import { toRef } from './room-ref.ts'

/** The member events of a user in all rooms that are known here, of some memberships, by room. */
export async function ownMemberEvents(
  sql: Sql,
  userId: string,
  memberships: ReadonlySet<string>,
): Promise<Map<string, { membership: string; event: ReadEvent }>> {
  const rows = (await listRooms.membershipsOf(sql, userId)).filter((row) =>
    memberships.has(row.membership),
  )
  const rooms = new Map(
    rows.flatMap((row) => {
      const room = toRef(row)
      return room ? [[room.roomNid, room] as const] : []
    }),
  )
  const wanted = rows.map((row) => ({ shard: row.shard, nid: row.event_nid }))
  const events = await loadEvents(sql, rooms, wanted)
  return new Map(
    rows.flatMap(({ room_id: roomId, membership, event_nid: nid }) => {
      const event = events.get(nid)
      return event ? [[roomId, { membership, event }] as const] : []
    }),
  )
}
