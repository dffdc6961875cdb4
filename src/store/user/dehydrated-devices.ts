import type { Sql } from '#store/db.ts'
import type { DeviceKey } from './device-keys.ts'

export type Dehydrated = { user_id: string; device_id: string; device_data: string }

/** The dehydrated devices of users. */
export const list = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<Dehydrated[]>`
    select user_id, device_id, device_data from dehydrated_devices
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** Replaces the dehydrated devices of users, each named once. */
export const put = (sql: Sql, rows: readonly (DeviceKey & { deviceData: string })[]) =>
  sql`
    insert into dehydrated_devices (shard, user_id, device_id, device_data)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.deviceData)}::text[]
    )
    on conflict (shard, user_id) do update
      set device_id = excluded.device_id, device_data = excluded.device_data`

/** Drops what is kept of devices that are removed. */
export const remove = (sql: Sql, keys: readonly DeviceKey[]) =>
  sql`
    delete from dehydrated_devices d
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.deviceId)}::text[]
    ) w (shard, user_id, device_id)
    where d.shard = w.shard and d.user_id = w.user_id and d.device_id = w.device_id`
