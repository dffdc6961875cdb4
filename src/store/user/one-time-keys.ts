import type { Sql } from '#store/db.ts'
import type { DeviceKey } from './device-keys.ts'

export type NamedKey = DeviceKey & { algorithm: string; keyId: string; json: string }

const names = (rows: readonly DeviceKey[]) =>
  [
    rows.map((row) => row.shard),
    rows.map((row) => row.userId),
    rows.map((row) => row.deviceId),
  ] as const

export type StoredKey = {
  user_id: string
  device_id: string
  algorithm: string
  key_id: string
  json: string
}

/** Those of some keys that are there, or were and have been given out. */
export const find = (sql: Sql, rows: readonly NamedKey[]) => {
  const [shards, userIds, deviceIds] = names(rows)
  return sql<StoredKey[]>`
    select k.user_id, k.device_id, k.algorithm, k.key_id, k.json
    from unnest(
      ${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[],
      ${rows.map((row) => row.algorithm)}::text[],
      ${rows.map((row) => row.keyId)}::text[]
    ) w (shard, user_id, device_id, algorithm, key_id)
    join one_time_keys k
      on k.shard = w.shard and k.user_id = w.user_id and k.device_id = w.device_id
        and k.algorithm = w.algorithm and k.key_id = w.key_id`
}

/** Adds keys; those that are there, or were, stay as they are. */
export const add = (sql: Sql, rows: readonly (NamedKey & { position: number })[]) => {
  const [shards, userIds, deviceIds] = names(rows)
  return sql`
    insert into one_time_keys (shard, user_id, device_id, algorithm, key_id, json, position)
    select * from unnest(
      ${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[],
      ${rows.map((row) => row.algorithm)}::text[],
      ${rows.map((row) => row.keyId)}::text[],
      ${rows.map((row) => row.json)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict do nothing`
}

/** How many keys of each algorithm devices have to give. */
export const counts = (sql: Sql, keys: readonly DeviceKey[]) => {
  const [shards, userIds, deviceIds] = names(keys)
  return sql<{ user_id: string; device_id: string; algorithm: string; count: number }[]>`
    select k.user_id, k.device_id, k.algorithm, count(*) as count
    from unnest(${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[])
      w (shard, user_id, device_id)
    join one_time_keys k
      on k.shard = w.shard and k.user_id = w.user_id and k.device_id = w.device_id
        and k.claimed_at is null
    group by k.user_id, k.device_id, k.algorithm`
}

export type Claim = DeviceKey & { algorithm: string; count: number }

/**
 * Takes up to so many keys of devices, those first that were uploaded first. By their places in the table,
 * which only the owner of the shard changes: joined by name, the choice would be made again for each key.
 */
export const claim = (sql: Sql, claims: readonly Claim[], at: number) => {
  const [shards, userIds, deviceIds] = names(claims)
  return sql<(StoredKey & { position: number })[]>`
    update one_time_keys k set claimed_at = ${at}
    from unnest(
      ${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[],
      ${claims.map((each) => each.algorithm)}::text[],
      ${claims.map((each) => each.count)}::integer[]
    ) w (shard, user_id, device_id, algorithm, count)
    cross join lateral (
      select f.ctid from one_time_keys f
      where f.shard = w.shard and f.user_id = w.user_id and f.device_id = w.device_id
        and f.algorithm = w.algorithm and f.claimed_at is null
      order by f.position, f.key_id
      limit w.count
    ) next
    where k.ctid = next.ctid
    returning k.user_id, k.device_id, k.algorithm, k.key_id, k.json, k.position`
}

/** Drops the keys of devices, and what is known of those they had. */
export const remove = (sql: Sql, keys: readonly DeviceKey[]) => {
  const [shards, userIds, deviceIds] = names(keys)
  return sql`
    delete from one_time_keys k
    using unnest(${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[])
      w (shard, user_id, device_id)
    where k.shard = w.shard and k.user_id = w.user_id and k.device_id = w.device_id`
}

/** Forgets some keys that were given out before a time; answers how many. */
export async function dropClaimed(sql: Sql, before: number, limit: number): Promise<number> {
  const { count } = await sql`
    delete from one_time_keys where ctid = any(array(
      select ctid from one_time_keys where claimed_at < ${before} limit ${limit}))`
  return count
}
