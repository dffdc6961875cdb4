import type { Sql } from '#store/db.ts'

export type SignatureRow = {
  shard: number
  signer: string
  targetUser: string
  /** A device ID, or the public key of a master key. */
  targetKey: string
  keyId: string
  signature: string
  position: number
}

/** Keeps signatures, each named once. */
export const put = (sql: Sql, rows: readonly SignatureRow[]) =>
  sql`
    insert into key_signatures (shard, signer, target_user, target_key, key_id, signature, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.signer)}::text[],
      ${rows.map((row) => row.targetUser)}::text[],
      ${rows.map((row) => row.targetKey)}::text[],
      ${rows.map((row) => row.keyId)}::text[],
      ${rows.map((row) => row.signature)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, signer, target_user, target_key, key_id) do update
      set signature = excluded.signature, position = excluded.position`

/** Drops what was signed with these keys of users. */
export const removeBy = (
  sql: Sql,
  keys: readonly { shard: number; userId: string; keyId: string }[],
) =>
  sql`
    delete from key_signatures s
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.keyId)}::text[]
    ) w (shard, user_id, key_id)
    where s.shard = w.shard and s.signer = w.user_id and s.key_id = w.key_id`

/** Drops what users have signed of their own devices, and what these devices have signed. */
export const removeOf = (
  sql: Sql,
  devices: readonly { shard: number; userId: string; deviceId: string }[],
) =>
  sql`
    delete from key_signatures s
    using unnest(
      ${devices.map((each) => each.shard)}::smallint[],
      ${devices.map((each) => each.userId)}::text[],
      ${devices.map((each) => each.deviceId)}::text[]
    ) w (shard, user_id, device_id)
    where s.shard = w.shard and s.signer = w.user_id
      and (s.target_user = w.user_id and s.target_key = w.device_id
        or s.key_id = 'ed25519:' || w.device_id)`
