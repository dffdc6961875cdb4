import type { Sql } from '#store/db.ts'

export type DeviceKey = { shard: number; userId: string; deviceId: string }
export type DeviceKeysRow = DeviceKey & { json: string; position: number }

/** Devices as three parallel lists. */
const columns = (rows: readonly DeviceKey[]) =>
  [
    rows.map((row) => row.shard),
    rows.map((row) => row.userId),
    rows.map((row) => row.deviceId),
  ] as const

/** Replaces the identity keys of devices, each named once. */
export const put = (sql: Sql, rows: readonly DeviceKeysRow[]) => {
  const [shards, userIds, deviceIds] = columns(rows)
  return sql`
    insert into device_keys (shard, user_id, device_id, json, position)
    select * from unnest(
      ${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[],
      ${rows.map((row) => row.json)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id, device_id) do update
      set json = excluded.json, position = excluded.position`
}

export type KnownDevice = {
  user_id: string
  device_id: string
  display_name: string | null
  json: string | null
  /** Its user's key for it, as a map of key IDs to signatures, JSON text. */
  signatures: string | null
}

/**
 * Those of some devices that are there, with their identity keys and the signatures that their user
 * has put to them since.
 */
export const find = (sql: Sql, keys: readonly DeviceKey[]) => {
  const [shards, userIds, deviceIds] = columns(keys)
  return sql<KnownDevice[]>`
    select d.user_id, d.device_id, d.display_name, k.json, (
      select json_object_agg(s.key_id, s.signature)::text from key_signatures s
      where s.shard = d.shard and s.signer = d.user_id and s.target_user = d.user_id
        and s.target_key = d.device_id
    ) as signatures
    from unnest(${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[])
      w (shard, user_id, device_id)
    join devices d on d.shard = w.shard and d.user_id = w.user_id and d.device_id = w.device_id
    left join device_keys k
      on k.shard = d.shard and k.user_id = d.user_id and k.device_id = d.device_id`
}

/** Drops everything that devices have published. */
export const remove = (sql: Sql, keys: readonly DeviceKey[]) => {
  const [shards, userIds, deviceIds] = columns(keys)
  return sql`
    delete from device_keys k
    using unnest(${shards}::smallint[], ${userIds}::text[], ${deviceIds}::text[])
      w (shard, user_id, device_id)
    where k.shard = w.shard and k.user_id = w.user_id and k.device_id = w.device_id`
}
