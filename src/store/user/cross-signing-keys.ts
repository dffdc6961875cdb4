import type { Usage } from '#core/keys/cross-signing.ts'
import type { Sql } from '#store/db.ts'

export type KeyRow = {
  shard: number
  userId: string
  usage: Usage
  publicKey: string
  json: string
}

export type StoredKey = { user_id: string; usage: Usage; public_key: string; json: string }

/** The cross-signing keys of users. */
export const list = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<StoredKey[]>`
    select user_id, usage, public_key, json from cross_signing_keys
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** The same, each with the signatures that its user put to it later, a JSON map by key ID. */
export const listSigned = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<(StoredKey & { signatures: string | null })[]>`
    select k.user_id, k.usage, k.public_key, k.json, (
      select json_object_agg(s.key_id, s.signature)::text from key_signatures s
      where s.shard = k.shard and s.signer = k.user_id and s.target_user = k.user_id
        and s.target_key = k.public_key
    ) as signatures
    from cross_signing_keys k
    where k.shard = any(${shards as number[]}::smallint[])
      and k.user_id = any(${userIds as string[]}::text[])`

/** Replaces keys, each usage of a user named once. */
export const put = (sql: Sql, rows: readonly KeyRow[]) =>
  sql`
    insert into cross_signing_keys (shard, user_id, usage, public_key, json)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.usage)}::text[],
      ${rows.map((row) => row.publicKey)}::text[],
      ${rows.map((row) => row.json)}::text[]
    )
    on conflict (shard, user_id, usage) do update
      set public_key = excluded.public_key, json = excluded.json`

/** Drops all keys of these users. */
export const remove = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql`
    delete from cross_signing_keys
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** Drops some keys of users. */
export const removeSome = (
  sql: Sql,
  keys: readonly { shard: number; userId: string; usage: Usage }[],
) =>
  sql`
    delete from cross_signing_keys k
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.usage)}::text[]
    ) w (shard, user_id, usage)
    where k.shard = w.shard and k.user_id = w.user_id and k.usage = w.usage`

/** Of these devices those whose ID is one of their user's public keys. */
export const namesakes = (
  sql: Sql,
  devices: readonly { shard: number; userId: string; deviceId: string }[],
) =>
  sql<{ user_id: string; device_id: string }[]>`
    select w.user_id, w.device_id
    from unnest(
      ${devices.map((each) => each.shard)}::smallint[],
      ${devices.map((each) => each.userId)}::text[],
      ${devices.map((each) => each.deviceId)}::text[]
    ) w (shard, user_id, device_id)
    join cross_signing_keys k
      on k.shard = w.shard and k.user_id = w.user_id and k.public_key = w.device_id`
