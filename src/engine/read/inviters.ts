import type { Sql } from '#store/db.ts'
import * as readMembers from '#store/room/read-members.ts'

/** Who made a user what they are in a room: an invite's sender. */
export async function invitersOf(sql: Sql, roomId: string, userId: string): Promise<string[]> {
  const rows = await readMembers.inviters(sql, roomId, userId)
  return rows.map((row) => row.user_id)
}
