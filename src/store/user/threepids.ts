import type { Sql } from '#store/db.ts'

export type Threepid = {
  medium: string
  address: string
  validated_at: number
  added_at: number
}

export const list = (sql: Sql, userId: string) =>
  sql<Threepid[]>`
    select medium, address, validated_at, added_at from user_threepids
    where user_id = ${userId} order by added_at, address`

/** Whose address this is. */
export async function owner(
  sql: Sql,
  medium: string,
  address: string,
): Promise<string | undefined> {
  const [row] = await sql<{ user_id: string }[]>`
    select user_id from user_threepids where medium = ${medium} and address = ${address}`
  return row?.user_id
}

export type NewThreepid = {
  userId: string
  medium: string
  address: string
  validatedAt: number
  addedAt: number
}

/** Adds addresses, each named once; answers those that are their user's now. */
export const add = (sql: Sql, rows: readonly NewThreepid[]) =>
  sql<{ medium: string; address: string; user_id: string }[]>`
    insert into user_threepids as t (user_id, medium, address, validated_at, added_at)
    select * from unnest(
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.medium)}::text[],
      ${rows.map((row) => row.address)}::text[],
      ${rows.map((row) => row.validatedAt)}::bigint[],
      ${rows.map((row) => row.addedAt)}::bigint[]
    ) as n
    order by 2, 3
    on conflict (medium, address) do update set validated_at = excluded.validated_at
      where t.user_id = excluded.user_id
    returning medium, address, user_id`

/** Removes addresses of users; answers those that were there. */
export const remove = (
  sql: Sql,
  keys: readonly { userId: string; medium: string; address: string }[],
) =>
  sql<{ user_id: string; medium: string; address: string }[]>`
    delete from user_threepids t
    using unnest(
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.medium)}::text[],
      ${keys.map((key) => key.address)}::text[]
    ) as k (user_id, medium, address)
    where t.user_id = k.user_id and t.medium = k.medium and t.address = k.address
    returning t.user_id, t.medium, t.address`

export const removeAll = (sql: Sql, userIds: readonly string[]) =>
  sql`delete from user_threepids where user_id = any(${userIds as string[]}::text[])`
