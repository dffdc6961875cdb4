import type { Sql } from '#store/db.ts'

export type ServerKeyRow = {
  server: string
  key_id: string
  key: string
  valid_until_ts: number
  expired_ts: number | null
}

/** The keys of some servers: those named, or all of a server for which no key ID is given. */
export function list(
  sql: Sql,
  wanted: readonly { server: string; keyIds: readonly string[] }[],
): PromiseLike<ServerKeyRow[]> {
  const pairs = wanted.flatMap(({ server, keyIds }): [string, string | null][] =>
    keyIds.length === 0 ? [[server, null]] : keyIds.map((keyId) => [server, keyId]),
  )
  return sql<ServerKeyRow[]>`
    select k.server, k.key_id, k.key, k.valid_until_ts, k.expired_ts
    from unnest(
      ${pairs.map(([server]) => server)}::text[],
      ${pairs.map(([, keyId]) => keyId)}::text[]) w (server, key_id)
    join server_keys k on k.server = w.server and k.key_id = coalesce(w.key_id, k.key_id)`
}

/** Stores what a server said itself of its keys; what is known of them now. A key that once had expired stays so. */
export const put = (sql: Sql, rows: readonly ServerKeyRow[]): PromiseLike<ServerKeyRow[]> =>
  sql<ServerKeyRow[]>`
    insert into server_keys (server, key_id, key, valid_until_ts, expired_ts)
    ${valuesOf(sql, rows)}
    on conflict (server, key_id) do update set
      key = excluded.key,
      valid_until_ts = excluded.valid_until_ts,
      expired_ts = coalesce(excluded.expired_ts, server_keys.expired_ts)
    returning server, key_id, key, valid_until_ts, expired_ts`

/**
 * Stores what a server once said of its keys, as another one tells it; what is known of them now. It
 * may be older than what is known, and then adds nothing to it.
 */
export const putHeard = (sql: Sql, rows: readonly ServerKeyRow[]): PromiseLike<ServerKeyRow[]> =>
  sql<ServerKeyRow[]>`
    insert into server_keys (server, key_id, key, valid_until_ts, expired_ts)
    ${valuesOf(sql, rows)}
    on conflict (server, key_id) do update set
      valid_until_ts = greatest(server_keys.valid_until_ts, excluded.valid_until_ts),
      expired_ts = coalesce(server_keys.expired_ts, excluded.expired_ts)
    where server_keys.key = excluded.key
    returning server, key_id, key, valid_until_ts, expired_ts`

const valuesOf = (sql: Sql, rows: readonly ServerKeyRow[]) => sql`
  select * from unnest(
    ${rows.map((row) => row.server)}::text[],
    ${rows.map((row) => row.key_id)}::text[],
    ${rows.map((row) => row.key)}::text[],
    ${rows.map((row) => row.valid_until_ts)}::bigint[],
    ${rows.map((row) => row.expired_ts)}::bigint[])`

export type KeyDocumentRow = {
  server: string
  json: string
  valid_until_ts: number
  fetched_at: number
}

/** The documents of some servers, as they signed them. */
export function documents(sql: Sql, servers: readonly string[]): PromiseLike<KeyDocumentRow[]> {
  return sql<KeyDocumentRow[]>`
    select server, json, valid_until_ts, fetched_at from server_key_documents
    where server = any(${servers as string[]})`
}

/** Replaces the document of one server; one that was heard of from another, only by a newer one. */
export async function putDocument(
  sql: Sql,
  { server, json, valid_until_ts: validUntilTs, fetched_at: fetchedAt }: KeyDocumentRow,
  isHeard: boolean,
): Promise<void> {
  await sql`
    insert into server_key_documents (server, json, valid_until_ts, fetched_at)
    values (${server}, ${json}, ${validUntilTs}, ${fetchedAt})
    on conflict (server) do update set
      json = excluded.json,
      valid_until_ts = excluded.valid_until_ts,
      fetched_at = excluded.fetched_at
    where not ${isHeard} or excluded.valid_until_ts > server_key_documents.valid_until_ts`
}

/** The document of one server, which no other transaction changes meanwhile. */
export async function lockDocument(sql: Sql, server: string): Promise<KeyDocumentRow | undefined> {
  const [row] = await sql<KeyDocumentRow[]>`
    select server, json, valid_until_ts, fetched_at from server_key_documents
    where server = ${server} for update`
  return row
}

export type FormerDocumentRow = Omit<KeyDocumentRow, 'fetched_at'>

/** Documents of some servers that were replaced, the oldest first. */
export function formerDocuments(
  sql: Sql,
  servers: readonly string[],
): PromiseLike<FormerDocumentRow[]> {
  return sql<FormerDocumentRow[]>`
    select server, json, valid_until_ts from former_key_documents
    where server = any(${servers as string[]}) order by server, valid_until_ts`
}

/** Keeps a document that was replaced; of one server as many as `most`, the newest. */
export async function putFormer(
  sql: Sql,
  { server, json, valid_until_ts: validUntilTs }: FormerDocumentRow,
  most: number,
): Promise<void> {
  await sql`
    insert into former_key_documents (server, valid_until_ts, json)
    values (${server}, ${validUntilTs}, ${json})
    on conflict (server, valid_until_ts) do nothing`
  await sql`
    delete from former_key_documents f
    where f.server = ${server} and f.valid_until_ts <= (
      select o.valid_until_ts from former_key_documents o
      where o.server = ${server} order by o.valid_until_ts desc offset ${most} limit 1)`
}
