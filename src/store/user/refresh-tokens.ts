import type { Sql } from '#store/db.ts'

// Refresh tokens follow each other: a row is deleted, with its access token, when the one that names it
// as its parent is used. What is deleted was used twice.

export type Holder = {
  userId: string
  deviceId: string
  locked: boolean
  authenticatedAt: number | null
}

/** Whose refresh token has this hash. */
export async function find(sql: Sql, hash: Uint8Array): Promise<Holder | undefined> {
  const [row] = await sql<
    { user_id: string; device_id: string; locked: boolean; authenticated_at: number | null }[]
  >`
    select r.user_id, r.device_id, u.locked, (
      select max(a.authenticated_at) from access_tokens a where a.refresh_hash = r.token_hash
    ) as authenticated_at
    from refresh_tokens r join users u using (user_id)
    where r.token_hash = ${hash} and not u.deactivated`
  return (
    row && {
      userId: row.user_id,
      deviceId: row.device_id,
      locked: row.locked,
      authenticatedAt: row.authenticated_at,
    }
  )
}

export type NewRefreshToken = {
  shard: number
  userId: string
  deviceId: string
  refreshHash: Uint8Array
  parentHash?: Uint8Array | undefined
  createdAt: number
}

const hex = (hash: Uint8Array | undefined) => (hash ? Buffer.from(hash).toString('hex') : null)
const hexes = (hashes: readonly Uint8Array[]) => hashes.map((hash) => hex(hash))

export const add = (sql: Sql, rows: readonly NewRefreshToken[]) =>
  sql`
    insert into refresh_tokens (token_hash, shard, user_id, device_id, created_at, parent_hash)
    select decode(hash, 'hex'), shard, user_id, device_id, created_at, decode(parent, 'hex')
    from unnest(
      ${rows.map((row) => hex(row.refreshHash))}::text[],
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.createdAt)}::bigint[],
      ${rows.map((row) => hex(row.parentHash))}::text[]
    ) as t (hash, shard, user_id, device_id, created_at, parent)`

/** Those of these that are there still. */
export async function there(sql: Sql, hashes: readonly Uint8Array[]): Promise<Set<string>> {
  const rows = await sql<{ hash: string }[]>`
    select encode(token_hash, 'hex') as hash from refresh_tokens
    where token_hash = any(array(
      select decode(h, 'hex') from unnest(${hexes(hashes)}::text[]) as t (h)
    ))`
  return new Set(rows.map((row) => row.hash))
}

/** These are used: what they replaced ends. */
export const settle = (sql: Sql, hashes: readonly Uint8Array[]) =>
  sql`
    with used as (
      select token_hash, parent_hash from refresh_tokens
      where parent_hash is not null and token_hash = any(array(
        select decode(h, 'hex') from unnest(${hexes(hashes)}::text[]) as t (h)
      ))
    ), ended as (
      delete from refresh_tokens r using used u where r.token_hash = u.parent_hash
    ), without as (
      delete from access_tokens a using used u where a.refresh_hash = u.parent_hash
    )
    update refresh_tokens r set parent_hash = null from used u where r.token_hash = u.token_hash`

/** As `settle`, told by the access tokens that were given out with them. */
export const settleByAccess = (sql: Sql, hashes: readonly Uint8Array[]) =>
  sql`
    with used as (
      select r.token_hash, r.parent_hash
      from access_tokens a join refresh_tokens r on r.token_hash = a.refresh_hash
      where r.parent_hash is not null and a.token_hash = any(array(
        select decode(h, 'hex') from unnest(${hexes(hashes)}::text[]) as t (h)
      ))
    ), ended as (
      delete from refresh_tokens r using used u where r.token_hash = u.parent_hash
    ), without as (
      delete from access_tokens a using used u where a.refresh_hash = u.parent_hash
    )
    update refresh_tokens r set parent_hash = null from used u where r.token_hash = u.token_hash`

/** A refresh is repeated: what it gave out before, and nobody used, ends. */
export const dropChildren = (sql: Sql, hashes: readonly Uint8Array[]) =>
  sql`
    with gone as (
      delete from refresh_tokens where parent_hash = any(array(
        select decode(h, 'hex') from unnest(${hexes(hashes)}::text[]) as t (h)
      ))
      returning token_hash
    )
    delete from access_tokens a using gone g where a.refresh_hash = g.token_hash`
