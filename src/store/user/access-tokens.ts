import type { Sql } from '#store/db.ts'
import { type OwnLimit, ownLimit } from './rate-limits.ts'

export type Found = {
  userId: string
  deviceId: string
  admin: boolean
  guest: boolean
  locked: boolean
  suspended: boolean
  expiresAt: number | null
  /** Its first use ends the tokens that it replaces. */
  replaces: boolean
  ownLimit: OwnLimit | undefined
}

/** Whose token has this hash. */
export async function find(sql: Sql, hash: Uint8Array): Promise<Found | undefined> {
  const [row] = await sql<
    {
      user_id: string
      device_id: string
      admin: boolean
      guest: boolean
      locked: boolean
      suspended: boolean
      expires_at: number | null
      replaces: boolean
      per_second: number | null
      burst: number | null
    }[]
  >`
    select t.user_id, t.device_id, u.admin, u.guest, u.locked, u.suspended, t.expires_at,
      r.parent_hash is not null as replaces, l.per_second, l.burst
    from access_tokens t
    join users u using (user_id)
    left join refresh_tokens r on r.token_hash = t.refresh_hash
    left join rate_limits l on l.user_id = t.user_id
    where t.token_hash = ${hash} and not u.deactivated`
  if (!row) return undefined
  const { user_id: userId, device_id: deviceId, expires_at: expiresAt, ...rest } = row
  const { per_second: perSecond, burst, ...flags } = rest
  return { userId, deviceId, expiresAt, ...flags, ownLimit: ownLimit(perSecond, burst) }
}

type Key = { shard: number; userId: string; deviceId: string }
export type NewToken = Key & {
  tokenHash: Uint8Array
  createdAt: number
  expiresAt?: number | undefined
  refreshHash?: Uint8Array | undefined
  authenticatedAt?: number | undefined
}

const hex = (hash: Uint8Array | undefined) => (hash ? Buffer.from(hash).toString('hex') : null)

export const add = (sql: Sql, rows: readonly NewToken[]) =>
  sql`
    insert into access_tokens (
      token_hash, shard, user_id, device_id, created_at, expires_at, refresh_hash, authenticated_at
    )
    select decode(hash, 'hex'), shard, user_id, device_id, created_at, expires_at,
      decode(refresh, 'hex'), authenticated_at
    from unnest(
      ${rows.map((row) => hex(row.tokenHash))}::text[],
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.createdAt)}::bigint[],
      ${rows.map((row) => row.expiresAt ?? null)}::bigint[],
      ${rows.map((row) => hex(row.refreshHash))}::text[],
      ${rows.map((row) => row.authenticatedAt ?? null)}::bigint[]
    ) as t (
      hash, shard, user_id, device_id, created_at, expires_at, refresh, authenticated_at
    )`

/** Ends the tokens of devices. */
export const remove = (sql: Sql, keys: readonly Key[]) =>
  sql`
    with gone as (
      select * from unnest(
        ${keys.map((key) => key.userId)}::text[],
        ${keys.map((key) => key.deviceId)}::text[]
      ) as k (user_id, device_id)
    ), refresh as (
      delete from refresh_tokens r using gone k
      where r.user_id = k.user_id and r.device_id = k.device_id
    )
    delete from access_tokens a using gone k
    where a.user_id = k.user_id and a.device_id = k.device_id`

export const removeAll = (sql: Sql, userIds: readonly string[]) =>
  sql`
    with refresh as (
      delete from refresh_tokens where user_id = any(${userIds as string[]}::text[])
    )
    delete from access_tokens where user_id = any(${userIds as string[]}::text[])`

/** When whoever holds this token last proved who they are. */
export async function authenticatedAt(sql: Sql, hash: Uint8Array): Promise<number | null> {
  const [row] = await sql<{ authenticated_at: number | null }[]>`
    select authenticated_at from access_tokens where token_hash = ${hash}`
  return row?.authenticated_at ?? null
}

export const noteAuthenticated = (sql: Sql, hash: Uint8Array, at: number) =>
  sql`update access_tokens set authenticated_at = ${at} where token_hash = ${hash}`
