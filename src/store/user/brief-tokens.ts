import type { Sql } from '#store/db.ts'

// Tokens that are good for a short time: to log in once, and to prove to somebody else who one is.

type New = { tokenHash: Uint8Array; userId: string; expiresAt: number }

export const addLogin = (sql: Sql, row: New) =>
  sql`
    insert into login_tokens (token_hash, user_id, expires_at)
    values (${row.tokenHash}, ${row.userId}, ${row.expiresAt})`

/** Whose login token this was: it is none any more. */
export async function takeLogin(
  sql: Sql,
  tokenHash: Uint8Array,
  now: number,
): Promise<string | undefined> {
  const [row] = await sql<{ user_id: string }[]>`
    delete from login_tokens where token_hash = ${tokenHash} and expires_at > ${now}
    returning user_id`
  return row?.user_id
}

export const addOpenId = (sql: Sql, row: New) =>
  sql`
    insert into openid_tokens (token_hash, user_id, expires_at)
    values (${row.tokenHash}, ${row.userId}, ${row.expiresAt})`

/** Whose token this is. */
export async function findOpenId(
  sql: Sql,
  tokenHash: Uint8Array,
  now: number,
): Promise<string | undefined> {
  const [row] = await sql<{ user_id: string }[]>`
    select t.user_id from openid_tokens t join users u using (user_id)
    where t.token_hash = ${tokenHash} and t.expires_at > ${now}
      and not u.deactivated and not u.locked`
  return row?.user_id
}

/** Ends all of these users. */
export const removeAll = (sql: Sql, userIds: readonly string[]) =>
  sql`
    with openid as (
      delete from openid_tokens where user_id = any(${userIds as string[]}::text[])
    )
    delete from login_tokens where user_id = any(${userIds as string[]}::text[])`

/** Drops some that are over; answers how many. */
export async function dropExpired(sql: Sql, now: number, limit: number): Promise<number> {
  const logins = await sql`
    delete from login_tokens where token_hash in (
      select token_hash from login_tokens where expires_at <= ${now} limit ${limit}
    )`
  const openIds = await sql`
    delete from openid_tokens where token_hash in (
      select token_hash from openid_tokens where expires_at <= ${now} limit ${limit}
    )`
  return logins.count + openIds.count
}
