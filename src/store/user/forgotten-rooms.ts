import type { Sql } from '#store/db.ts'

export type Forgotten = {
  shard: number
  userId: string
  roomId: string
  memberEvent: string
  position: number
}

/** Notes that rooms are forgotten, each named once. */
export const put = (sql: Sql, rows: readonly Forgotten[]) =>
  sql`
    insert into forgotten_rooms (shard, user_id, room_id, member_event, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.roomId)}::text[],
      ${rows.map((row) => row.memberEvent)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id, room_id) do update
      set member_event = excluded.member_event, position = excluded.position`
