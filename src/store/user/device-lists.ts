import type { Sql } from '#store/db.ts'

export type ListRow = { shard: number; userId: string; streamId: number; position: number }

/** The last update of each of these users' lists. */
export const streams = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<{ user_id: string; stream_id: number }[]>`
    select user_id, stream_id from device_lists
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** Notes that lists have changed, each user named once. */
export const put = (sql: Sql, rows: readonly ListRow[]) =>
  sql`
    insert into device_lists (shard, user_id, stream_id, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.streamId)}::bigint[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id) do update
      set stream_id = excluded.stream_id, position = excluded.position`
