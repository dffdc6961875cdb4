import type { Sql } from '#store/db.ts'

/** The preview of a URL as JSON text, unless it is older than that. */
export async function find(sql: Sql, url: string, since: number): Promise<string | undefined> {
  const [row] = await sql<{ json: string }[]>`
    select json from url_previews where url = ${url} and fetched_at >= ${since}`
  return row?.json
}

export async function put(sql: Sql, url: string, json: string, now: number): Promise<void> {
  await sql`
    insert into url_previews (url, json, fetched_at) values (${url}, ${json}, ${now})
    on conflict (url) do update set json = excluded.json, fetched_at = excluded.fetched_at`
}

export async function dropOld(sql: Sql, before: number, atMost: number): Promise<number> {
  const gone = await sql`
    delete from url_previews where url in (
      select url from url_previews where fetched_at < ${before} limit ${atMost}) returning 1`
  return gone.length
}
