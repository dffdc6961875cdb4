import type { Sql } from '#store/db.ts'

/**
 * Puts EDUs (JSON text of the whole EDU) in the queues of servers, in this order. For the owners of
 * user shards, in the commit that makes them; the federation worker is told by an `outbox` signal.
 */
export async function add(
  sql: Sql,
  rows: readonly { server: string; json: string }[],
): Promise<void> {
  await sql`
    insert into outbox_edus (server, json)
    select server, json from unnest(
      ${rows.map((row) => row.server)}::text[],
      ${rows.map((row) => row.json)}::text[]
    ) with ordinality as t (server, json, place)
    order by place`
}

/** The first EDUs in a server's queue. */
export const first = (sql: Sql, server: string, max: number) =>
  sql<{ edu_id: number; json: string }[]>`
    select edu_id, json from outbox_edus
    where server = ${server}
    order by edu_id
    limit ${max}`
