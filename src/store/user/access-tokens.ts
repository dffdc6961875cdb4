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
