import type { Sql } from '#store/db.ts'
import * as userHistory from '#store/room/user-history.ts'
import { loadEvents } from './events.ts'
import { toRef } from './room-ref.ts'

export { sentInvites } from '#store/room/user-history.ts'

/** Events that are read in one statement. */
const atOnce = 500

/** How many rooms a user joined since a time, whether or not they are in them still. */
export async function joinedRoomsSince(sql: Sql, userId: string, since: number): Promise<number> {
  const rows = await userHistory.memberEventsSince(sql, userId, since)
  const rooms = new Map(
    rows.flatMap((row) => {
      const room = toRef(row)
      return room ? [[room.roomNid, room] as const] : []
    }),
  )
  const joined = new Set<number>()
  for (let from = 0; from < rows.length; from += atOnce) {
    const page = rows.slice(from, from + atOnce)
    const events = await loadEvents(
      sql,
      rooms,
      page.map(({ shard, event_nid: nid }) => ({ shard, nid })),
    )
    for (const { room, event } of events.values())
      if (event.content['membership'] === 'join') joined.add(room.roomNid)
  }
  return joined.size
}
