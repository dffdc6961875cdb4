import { shardOf } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'

/** How many rows of the inbox some rooms have, and since when the oldest waits. */
export const ofRooms = (sql: Sql, roomIds: readonly string[]) =>
  sql<{ room_id: string; rows: number; oldest: number }[]>`
    select i.room_id, count(*)::integer as rows, min(i.received_at) as oldest
    from unnest(
      ${roomIds.map((id) => shardOf(id))}::smallint[], ${roomIds as string[]}::text[]
    ) w (shard, room_id)
    join inbox i on i.shard = w.shard and i.room_id = w.room_id collate "C"
    group by i.room_id`
