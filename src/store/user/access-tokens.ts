import type { Sql } from '#store/db.ts'

type Found = { userId: string; deviceId: string; admin: boolean }

/** Whose token has this hash. */
export async function find(sql: Sql, hash: Uint8Array): Promise<Found | undefined> {
  const [row] = await sql<{ user_id: string; device_id: string; admin: boolean }[]>`
    select t.user_id, t.device_id, u.admin
    from access_tokens t join users u using (user_id)
    where t.token_hash = ${hash} and not u.deactivated`
  return row && { userId: row.user_id, deviceId: row.device_id, admin: row.admin }
}

type Key = { shard: number; userId: string; deviceId: string }
export type NewToken = Key & { tokenHash: Uint8Array; createdAt: number }

export const add = (sql: Sql, rows: readonly NewToken[]) =>
  sql`
    insert into access_tokens (token_hash, shard, user_id, device_id, created_at)
    select decode(hash, 'hex'), shard, user_id, device_id, created_at
    from unnest(
      ${rows.map((row) => Buffer.from(row.tokenHash).toString('hex'))}::text[],
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.createdAt)}::bigint[]
    ) as t (hash, shard, user_id, device_id, created_at)`

/** Ends the tokens of devices. */
export const remove = (sql: Sql, keys: readonly Key[]) =>
  sql`
    delete from access_tokens a
    using unnest(
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.deviceId)}::text[]
    ) as k (user_id, device_id)
    where a.user_id = k.user_id and a.device_id = k.device_id`

export const removeAll = (sql: Sql, userIds: readonly string[]) =>
  sql`delete from access_tokens where user_id = any(${userIds as string[]}::text[])`
