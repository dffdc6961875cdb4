import type { Sql } from '#store/db.ts'

export type DeviceList = {
  shard: number
  userId: string
  streamId: number
  stale: boolean
  position: number
}

/** How far the lists of these users are known. */
export const lists = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<{ user_id: string; stream_id: number; stale: boolean }[]>`
    select user_id, stream_id, stale from remote_device_lists
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** Replaces what is known of lists, each user named once. */
export const putLists = (sql: Sql, rows: readonly DeviceList[]) =>
  sql`
    insert into remote_device_lists (shard, user_id, stream_id, stale, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.streamId)}::bigint[],
      ${rows.map((row) => String(row.stale))}::text[]::boolean[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id) do update set
      stream_id = excluded.stream_id, stale = excluded.stale, position = excluded.position`

export type RemoteDeviceRow = {
  shard: number
  userId: string
  deviceId: string
  streamId: number
  deleted: boolean
  content: string
}

/** Replaces devices, each named once, unless a later update is there. */
export const put = (sql: Sql, rows: readonly RemoteDeviceRow[]) =>
  sql`
    insert into remote_devices as r (shard, user_id, device_id, stream_id, deleted, content)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.streamId)}::bigint[],
      ${rows.map((row) => String(row.deleted))}::text[]::boolean[],
      ${rows.map((row) => row.content)}::text[]
    )
    on conflict (shard, user_id, device_id) do update set
      stream_id = excluded.stream_id, deleted = excluded.deleted, content = excluded.content
    where r.stream_id < excluded.stream_id`
