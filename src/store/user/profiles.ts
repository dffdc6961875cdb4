import type { Sql } from '#store/db.ts'

export type Field = { shard: number; userId: string; name: string; value: string; position: number }

/** Every field of these users. */
export const list = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<{ user_id: string; name: string; value: string }[]>`
    select user_id, name, value from profile_fields
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])
    order by name`

export async function get(
  sql: Sql,
  shard: number,
  userId: string,
  name: string,
): Promise<string | undefined> {
  const [row] = await sql<{ value: string }[]>`
    select value from profile_fields
    where shard = ${shard} and user_id = ${userId} and name = ${name}`
  return row?.value
}

/** Replaces fields, each named once. */
export const put = (sql: Sql, rows: readonly Field[]) =>
  sql`
    insert into profile_fields (shard, user_id, name, value, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.name)}::text[],
      ${rows.map((row) => row.value)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id, name) do update
      set value = excluded.value, position = excluded.position`

export const remove = (
  sql: Sql,
  keys: readonly { shard: number; userId: string; name: string }[],
) =>
  sql`
    delete from profile_fields p
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.name)}::text[]
    ) as k (shard, user_id, name)
    where p.shard = k.shard and p.user_id = k.user_id and p.name = k.name`

/** Drops every field of these users. */
export const removeAll = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql`
    delete from profile_fields
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`
