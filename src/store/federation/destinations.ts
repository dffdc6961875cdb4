import type { Sql } from '#store/db.ts'

/** What is known of reaching a server. */
export type Destination = {
  server: string
  /** Null: the last request was answered. */
  failing_since: number | null
  failures: number
  retry_at: number
  last_success: number | null
}

/** What is worth knowing at the start: the failing, and those who answered last. */
export function list(sql: Sql, max: number): PromiseLike<Destination[]> {
  return sql<Destination[]>`
    select server, failing_since, failures, retry_at, last_success from destinations
    order by failing_since is null, last_success desc nulls last
    limit ${max}`
}

/** Replaces what is known of some servers, each named once. */
export async function put(sql: Sql, rows: readonly Destination[]): Promise<void> {
  await sql`
    insert into destinations (server, failing_since, failures, retry_at, last_success)
    select * from unnest(
      ${rows.map((row) => row.server)}::text[],
      ${rows.map((row) => row.failing_since)}::bigint[],
      ${rows.map((row) => row.failures)}::integer[],
      ${rows.map((row) => row.retry_at)}::bigint[],
      ${rows.map((row) => row.last_success)}::bigint[])
    on conflict (server) do update set
      failing_since = excluded.failing_since,
      failures = excluded.failures,
      retry_at = excluded.retry_at,
      last_success = coalesce(excluded.last_success, destinations.last_success)`
}

/** Forgets servers that never answered, nor were worth an event, since some time. */
export async function removeStale(sql: Sql, failingBefore: number): Promise<void> {
  await sql`
    delete from destinations d
    where d.last_success is null and d.failing_since < ${failingBefore}
      and not exists (select 1 from outbox_rooms r where r.server = d.server)
      and not exists (select 1 from outbox_edus e where e.server = d.server)`
}
