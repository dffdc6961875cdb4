import type { Sql } from '#store/db.ts'

export type PublishedRow = {
  /** `list`: the name is empty, and `json` is the number of the last update of the list. */
  kind: 'device' | 'master' | 'self_signing' | 'user_signing' | 'signature' | 'list'
  user_id: string
  /** The ID of the device, or the public key; of a signature, what it signs. */
  name: string
  /** The key; of a signature, the signature. */
  json: string
  /** The display name of a device, or null; of a signature, the ID of the key that made it. */
  more: string | null
  /** Of a signature. */
  signer: string | null
}

/**
 * All that some local users have published, in one look: their devices with keys, their
 * cross-signing keys, and the signatures that came later: theirs over their own keys, and those of
 * a viewer over the keys of any of `targets`.
 */
export const published = (
  sql: Sql,
  userIds: readonly string[],
  shards: readonly number[],
  viewer: { userId: string; shard: number } | undefined,
  targets: readonly string[],
) =>
  sql<PublishedRow[]>`
    with w as materialized (
      select * from unnest(${shards as number[]}::smallint[], ${userIds as string[]}::text[])
        w (shard, user_id)
    )
    select 'device' as kind, d.user_id, d.device_id as name, k.json, d.display_name as more,
      null as signer
    from w
    join device_keys k on k.shard = w.shard and k.user_id = w.user_id
    join devices d on d.shard = k.shard and d.user_id = k.user_id and d.device_id = k.device_id
    union all
    select c.usage, c.user_id, c.public_key, c.json, null, null
    from w join cross_signing_keys c on c.shard = w.shard and c.user_id = w.user_id
    union all
    select 'signature', s.target_user, s.target_key, s.signature, s.key_id, s.signer
    from w join key_signatures s
      on s.shard = w.shard and s.signer = w.user_id and s.target_user = w.user_id
    union all
    select 'signature', s.target_user, s.target_key, s.signature, s.key_id, s.signer
    from key_signatures s
    where s.shard = ${viewer?.shard ?? -1} and s.signer = ${viewer?.userId ?? ''}
      and s.target_user <> s.signer and s.target_user = any(${targets as string[]}::text[])
    union all
    select 'list', l.user_id, '', l.stream_id::text, null, null
    from w join device_lists l on l.shard = w.shard and l.user_id = w.user_id`

export type UnpublishedRow = { kind: 'one_time' | 'fallback'; algorithm: string; count: number }

/** What a device has to give: one-time keys, and fallback keys that were not used. */
export const supply = (sql: Sql, shard: number, userId: string, deviceId: string) =>
  sql<UnpublishedRow[]>`
    select 'one_time' as kind, algorithm, count(*) as count
    from one_time_keys
    where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId}
      and claimed_at is null
    group by algorithm
    union all
    select 'fallback', algorithm, 1
    from fallback_keys
    where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId} and not used`
