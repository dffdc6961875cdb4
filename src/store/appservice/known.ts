import type { Pool, Sql } from '#store/db.ts'

/** An application service that is, or was, registered, and how it fares. */
export type Known = {
  appservice_nid: number
  id: string
  created_at: number
  follows: boolean
  failures: number
  retry_at: number
}

/**
 * Makes known who is registered, and that those who follow are to be sent what interests them; who was before
 * still is. Answers their rows.
 */
export const note = (
  pool: Pool,
  registered: readonly { id: string; follows: boolean }[],
  now: number,
): Promise<Known[]> =>
  pool.begin(async (sql) => {
    const ids = registered.map(({ id }) => id)
    const surely = registered.flatMap(({ id, follows }) => (follows ? [id] : []))
    await sql`
      insert into appservices (id, created_at, follows)
      select id, ${now}::bigint, id = any(${surely}::text[]) from unnest(${ids}::text[]) r (id)
      on conflict (id) do update set follows = appservices.follows or excluded.follows`
    return sql<Known[]>`
      select appservice_nid, id, created_at, follows, failures, retry_at from appservices
      where id = any(${ids}::text[])`
  })

/** From now on it is sent what interests it; whether it was not before. */
export async function follow(sql: Sql, nid: number): Promise<boolean> {
  const { count } = await sql`
    update appservices set follows = true where appservice_nid = ${nid} and not follows`
  return count > 0
}

/** Notes that it failed so often, and is left alone for so long; none: that it is well. */
export const noteFailures = (sql: Sql, nid: number, failures: number, retryAt: number) =>
  sql`
    update appservices set failures = ${failures}, retry_at = ${retryAt}
    where appservice_nid = ${nid}`
