import type { Sql } from '#store/db.ts'

type Key = { shard: number; userId: string; deviceId: string }
export type NewDevice = Key & { displayName: string | null; createdAt: number }

/** Makes devices that are not there; those that are stay as they are. Answers those that were made. */
export const add = (sql: Sql, rows: readonly NewDevice[]) =>
  sql<{ user_id: string; device_id: string }[]>`
    insert into devices (shard, user_id, device_id, display_name, created_at)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.displayName)}::text[],
      ${rows.map((row) => row.createdAt)}::bigint[]
    )
    on conflict (shard, user_id, device_id) do nothing
    returning user_id, device_id`

export const remove = (sql: Sql, keys: readonly Key[]) =>
  sql`
    delete from devices d
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.deviceId)}::text[]
    ) as k (shard, user_id, device_id)
    where d.shard = k.shard and d.user_id = k.user_id and d.device_id = k.device_id`

export const removeAll = (sql: Sql, shards: readonly number[], userIds: readonly string[]) =>
  sql`
    delete from devices
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** The newest device of each of some users. */
export const newest = (sql: Sql, shards: readonly number[], userIds: readonly string[]) =>
  sql<{ shard: number; user_id: string; device_id: string }[]>`
    select distinct on (user_id) shard, user_id, device_id from devices
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])
    order by user_id, created_at desc`

/** The devices of some users. */
export const listAll = (sql: Sql, shards: readonly number[], userIds: readonly string[]) =>
  sql<{ user_id: string; device_id: string }[]>`
    select user_id, device_id from devices
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

export type Device = {
  device_id: string
  display_name: string | null
  last_seen_at: number | null
  last_seen_ip: string | null
}

export const list = (sql: Sql, shard: number, userId: string) =>
  sql<Device[]>`
    select device_id, display_name, last_seen_at, last_seen_ip from devices
    where shard = ${shard} and user_id = ${userId}
    order by device_id`

export async function get(
  sql: Sql,
  shard: number,
  userId: string,
  deviceId: string,
): Promise<Device | undefined> {
  const [row] = await sql<Device[]>`
    select device_id, display_name, last_seen_at, last_seen_ip from devices
    where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId}`
  return row
}

/** Renames devices; answers those that are there. */
export const rename = (sql: Sql, rows: readonly (Key & { displayName: string })[]) =>
  sql<{ user_id: string; device_id: string }[]>`
    update devices d set display_name = t.display_name
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.displayName)}::text[]
    ) as t (shard, user_id, device_id, display_name)
    where d.shard = t.shard and d.user_id = t.user_id and d.device_id = t.device_id
    returning d.user_id, d.device_id`

export type Sighting = Key & { at: number; ip: string }

/** Notes when and from where devices were last seen. */
export const touch = (sql: Sql, rows: readonly Sighting[]) =>
  sql`
    update devices d set last_seen_at = t.at, last_seen_ip = t.ip
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.at)}::bigint[],
      ${rows.map((row) => row.ip)}::text[]
    ) as t (shard, user_id, device_id, at, ip)
    where d.shard = t.shard and d.user_id = t.user_id and d.device_id = t.device_id`
