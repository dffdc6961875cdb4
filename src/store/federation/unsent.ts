import type { Sql } from '#store/db.ts'

/** Whether events of a room wait to be sent, or it is not yet known whether they do. */
export async function isUnsent(sql: Sql, roomId: string): Promise<boolean> {
  const rows = await sql`
    select from rooms r
    join room_shards s on s.shard = r.shard
    join outbox_cursors c on c.shard = r.shard
    where r.room_id = ${roomId}
      and (c.position < s.position or exists (
        select from outbox_rooms o where o.shard = r.shard and o.room_nid = r.room_nid))`
  return rows.length > 0
}
