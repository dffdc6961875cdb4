import type { Sql } from '#store/db.ts'

export type JoinedRow = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  user_id: string
}

/** Which of these users are joined to which of these rooms. */
export const among = (sql: Sql, roomIds: readonly string[], userIds: readonly string[]) =>
  sql<JoinedRow[]>`
    select r.shard, r.room_nid, r.room_id, r.version, u.user_id
    from rooms r
    cross join user_ids u
    join memberships m
      on m.shard = r.shard and m.room_nid = r.room_nid and m.generation = r.generation
        and m.user_nid = u.user_nid and m.membership = 'join'
    where r.room_id = any(${roomIds as string[]}::text[])
      and u.user_id = any(${userIds as string[]}::text[])`
