import type { Sql } from '#store/db.ts'

export type NewUser = {
  userId: string
  shard: number
  passwordHash: string | null
  admin: boolean
  createdAt: number
}

/** Adds accounts; answers those that were added. */
export const add = (sql: Sql, rows: readonly NewUser[]) =>
  sql<{ user_id: string }[]>`
    insert into users (user_id, shard, password_hash, admin, created_at)
    select * from unnest(
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.passwordHash)}::text[],
      ${rows.map((row) => String(row.admin))}::text[]::boolean[],
      ${rows.map((row) => row.createdAt)}::bigint[]
    )
    on conflict (user_id) do nothing
    returning user_id`

export type Account = { passwordHash: string | null; admin: boolean; deactivated: boolean }

export async function get(sql: Sql, userId: string): Promise<Account | undefined> {
  const [row] = await sql<{ password_hash: string | null; admin: boolean; deactivated: boolean }[]>`
    select password_hash, admin, deactivated from users where user_id = ${userId}`
  return row && { passwordHash: row.password_hash, admin: row.admin, deactivated: row.deactivated }
}

/** Whether there is, or was, such an account: its name is not given out again. */
export async function exists(sql: Sql, userId: string): Promise<boolean> {
  const rows = await sql`select from users where user_id = ${userId}`
  return rows.length > 0
}

/** Those of these accounts that are, or were, there. */
export async function existing(sql: Sql, userIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql<{ user_id: string }[]>`
    select user_id from users where user_id = any(${userIds as string[]}::text[])`
  return new Set(rows.map((row) => row.user_id))
}

/** What an application service must know of a user before it acts as them, perhaps on a device. */
export async function standing(
  sql: Sql,
  shard: number,
  userId: string,
  deviceId: string | undefined,
): Promise<{ deactivated: boolean; hasDevice: boolean } | undefined> {
  const [row] = await sql<{ deactivated: boolean; has_device: boolean }[]>`
    select deactivated, exists (
      select from devices
      where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId ?? null}
    ) as has_device
    from users where user_id = ${userId}`
  return row && { deactivated: row.deactivated, hasDevice: row.has_device }
}
