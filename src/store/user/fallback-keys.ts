import type { Sql } from '#store/db.ts'
import type { DeviceKey } from './device-keys.ts'
import type { NamedKey, StoredKey } from './one-time-keys.ts'

/** Replaces the fallback keys of devices, one for each algorithm. The same key again stays used. */
export const put = (sql: Sql, rows: readonly NamedKey[]) =>
  sql`
    insert into fallback_keys as f (shard, user_id, device_id, algorithm, key_id, json, used)
    select *, false from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.algorithm)}::text[],
      ${rows.map((row) => row.keyId)}::text[],
      ${rows.map((row) => row.json)}::text[]
    )
    on conflict (shard, user_id, device_id, algorithm) do update set
      key_id = excluded.key_id, json = excluded.json,
      used = f.used and f.key_id = excluded.key_id and f.json = excluded.json`

/** Gives out the fallback keys of devices, which are used from then on. */
export const use = (sql: Sql, wanted: readonly (DeviceKey & { algorithm: string })[]) =>
  sql<StoredKey[]>`
    update fallback_keys f set used = true
    from unnest(
      ${wanted.map((each) => each.shard)}::smallint[],
      ${wanted.map((each) => each.userId)}::text[],
      ${wanted.map((each) => each.deviceId)}::text[],
      ${wanted.map((each) => each.algorithm)}::text[]
    ) w (shard, user_id, device_id, algorithm)
    where f.shard = w.shard and f.user_id = w.user_id and f.device_id = w.device_id
      and f.algorithm = w.algorithm
    returning f.user_id, f.device_id, f.algorithm, f.key_id, f.json`

export const remove = (sql: Sql, keys: readonly DeviceKey[]) =>
  sql`
    delete from fallback_keys f
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.deviceId)}::text[]
    ) w (shard, user_id, device_id)
    where f.shard = w.shard and f.user_id = w.user_id and f.device_id = w.device_id`
