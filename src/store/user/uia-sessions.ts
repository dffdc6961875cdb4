import type { Sql } from '#store/db.ts'

export type Key = { sessionId: string; userId: string; operation: string }

export const begin = (sql: Sql, { sessionId, userId, operation }: Key, expiresAt: number) =>
  sql`
    insert into uia_sessions (session_id, user_id, operation, completed, expires_at)
    values (${sessionId}, ${userId}, ${operation}, '{}', ${expiresAt})`

/** What the stages of a session have proved, JSON; nothing for one that is over, or of another kind. */
export async function find(sql: Sql, key: Key, now: number): Promise<string | undefined> {
  const [row] = await sql<{ completed: string }[]>`
    select completed from uia_sessions
    where session_id = ${key.sessionId} and user_id = ${key.userId}
      and operation = ${key.operation} and expires_at > ${now}`
  return row?.completed
}

/** Whether there is such a session, of whatever operation: for a page that knows no more. */
export async function operationOf(
  sql: Sql,
  sessionId: string,
  now: number,
): Promise<{ userId: string; operation: string } | undefined> {
  const [row] = await sql<{ user_id: string; operation: string }[]>`
    select user_id, operation from uia_sessions
    where session_id = ${sessionId} and expires_at > ${now}`
  return row && { userId: row.user_id, operation: row.operation }
}

/** Adds what a stage has proved; answers all of it. */
export async function complete(
  sql: Sql,
  key: Key,
  facts: object,
  now: number,
): Promise<string | undefined> {
  const [row] = await sql<{ completed: string }[]>`
    update uia_sessions
    set completed = (completed::jsonb || ${JSON.stringify(facts)}::text::jsonb)::text
    where session_id = ${key.sessionId} and user_id = ${key.userId}
      and operation = ${key.operation} and expires_at > ${now}
    returning completed`
  return row?.completed
}

/**
 * Ends a session, and counts the use of the registration token that it holds. Answers whether this did:
 * of two requests with one session, one goes on.
 */
export async function take(sql: Sql, key: Key, now: number): Promise<boolean> {
  const [row] = await sql<{ taken: number }[]>`
    with taken as (
      delete from uia_sessions
      where session_id = ${key.sessionId} and user_id = ${key.userId}
        and operation = ${key.operation} and expires_at > ${now}
      returning registration_token
    ), counted as (
      update registration_tokens t set completed = completed + 1
      from taken where t.token = taken.registration_token
    )
    select count(*)::integer as taken from taken`
  return row!.taken > 0
}

/** Drops some that are over; answers how many. */
export async function dropExpired(sql: Sql, now: number, limit: number): Promise<number> {
  const { count } = await sql`
    delete from uia_sessions where session_id in (
      select session_id from uia_sessions where expires_at <= ${now} limit ${limit}
    )`
  return count
}

/** Gives up the oldest where there are more than `most`. */
export const dropBeyond = (sql: Sql, most: number) =>
  sql`
    delete from uia_sessions where expires_at <= (
      select expires_at from uia_sessions order by expires_at desc offset ${most} limit 1
    )`
