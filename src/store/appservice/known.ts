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
 * Makes known who is registered, and whether they are to be sent anything: what is noted stays unless
 * `follows` is said. Answers those of them, with the numbers of their rows.
 */
export const note = (
  pool: Pool,
  registered: readonly { id: string; follows: boolean | undefined }[],
  now: number,
): Promise<Known[]> =>
  pool.begin(async (sql) => {
    for (const { id, follows } of registered)
      await sql`
        insert into appservices (id, created_at, follows) values (${id}, ${now}, ${follows ?? false})
        on conflict (id) do update
          set follows = ${follows === undefined ? sql`appservices.follows` : follows}`
    return sql<Known[]>`
      select appservice_nid, id, created_at, follows, failures, retry_at from appservices
      where id = any(${registered.map(({ id }) => id)}::text[])`
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
