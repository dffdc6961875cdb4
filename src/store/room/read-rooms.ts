import type { Sql } from '#store/db.ts'

export type RoomRow = {
  shard: number
  room_nid: number
  room_id: string
  version: string
}

export const byIds = (sql: Sql, roomIds: readonly string[]) =>
  sql<RoomRow[]>`
    select shard, room_nid, room_id, version from rooms where room_id = any(${roomIds as string[]}::text[])`

/** Members that are joined and invited, as last committed. */
export const counts = (sql: Sql, nids: readonly number[], shards: readonly number[]) =>
  sql<{ room_nid: number; joined: number; invited: number }[]>`
    select room_nid, joined_members as joined, invited_members as invited
    from rooms
    where (shard, room_nid) in (
      select * from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]))`
