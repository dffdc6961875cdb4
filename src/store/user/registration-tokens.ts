import type { Pool, Sql } from '#store/db.ts'

export type Token = {
  token: string
  uses_allowed: number | null
  /** Held by somebody who is registering just now. */
  pending: number
  completed: number
  expiry_time: number | null
}

/** All of them, or only those that can, or cannot, be used any more. */
export const list = (sql: Sql, now: number, valid?: boolean) =>
  sql<Token[]>`
    select * from (
      select t.token, t.uses_allowed, t.completed, t.expires_at as expiry_time, (
        select count(*)::integer from uia_sessions s
        where s.registration_token = t.token and s.expires_at > ${now}
      ) as pending
      from registration_tokens t
    ) as t
    where ${valid ?? null}::boolean is null or ${valid ?? null}::boolean = (
      (expiry_time is null or expiry_time > ${now})
      and (uses_allowed is null or pending + completed < uses_allowed)
    )
    order by token`

export async function get(sql: Sql, token: string, now: number): Promise<Token | undefined> {
  const [row] = await sql<Token[]>`
    select t.token, t.uses_allowed, t.completed, t.expires_at as expiry_time, (
      select count(*)::integer from uia_sessions s
      where s.registration_token = t.token and s.expires_at > ${now}
    ) as pending
    from registration_tokens t where t.token = ${token}`
  return row
}

type New = {
  token: string
  usesAllowed: number | null
  expiresAt: number | null
  createdAt: number
}

/** Adds a token; answers whether it is new. */
export async function add(sql: Sql, row: New): Promise<boolean> {
  const added = await sql`
    insert into registration_tokens (token, uses_allowed, expires_at, created_at)
    values (${row.token}, ${row.usesAllowed}, ${row.expiresAt}, ${row.createdAt})
    on conflict do nothing returning 1`
  return added.length > 0
}

/** Changes what is named; answers whether there is such a token. */
export async function change(
  sql: Sql,
  token: string,
  { usesAllowed, expiresAt }: { usesAllowed?: number | null; expiresAt?: number | null },
): Promise<boolean> {
  const { count } = await sql`
    update registration_tokens set
      uses_allowed = case when ${usesAllowed !== undefined}::boolean
        then ${usesAllowed ?? null}::integer else uses_allowed end,
      expires_at = case when ${expiresAt !== undefined}::boolean
        then ${expiresAt ?? null}::bigint else expires_at end
    where token = ${token}`
  return count > 0
}

export async function remove(sql: Sql, token: string): Promise<boolean> {
  const { count } = await sql`delete from registration_tokens where token = ${token}`
  return count > 0
}

/**
 * Holds one use of a token for a session. Whoever comes at the same time waits for its row, so no more
 * hold it than may.
 */
export const hold = (sql: Pool, token: string, sessionId: string, now: number): Promise<boolean> =>
  sql.begin(async (each) => {
    const [row] = await each<{ uses_allowed: number | null; completed: number }[]>`
      select uses_allowed, completed from registration_tokens
      where token = ${token} and (expires_at is null or expires_at > ${now}) for update`
    if (!row) return false
    const held = await each`
      update uia_sessions set registration_token = ${token}
      where session_id = ${sessionId} and expires_at > ${now} and (
        ${row.uses_allowed}::integer is null or ${row.completed} + (
          select count(*) from uia_sessions s
          where s.registration_token = ${token} and s.expires_at > ${now}
            and s.session_id <> ${sessionId}
        ) < ${row.uses_allowed}
      )
      returning 1`
    return held.length > 0
  })

/** Gives a use back that was counted, and came to nothing. */
export const giveBack = (sql: Sql, token: string) =>
  sql`update registration_tokens set completed = greatest(completed - 1, 0) where token = ${token}`
