import type { Sql } from '#store/db.ts'

export type Backup = {
  user_id: string
  version: number
  algorithm: string
  auth_data: string
  etag: number
  key_count: number
  deleted: boolean
}

/** All backups that users have or had, the newest first. */
export const list = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<Backup[]>`
    select user_id, version, algorithm, auth_data, etag, key_count, deleted from key_backups
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])
    order by version desc`

type Key = { shard: number; userId: string; version: number }
export type NewBackup = Key & { algorithm: string; authData: string }

export const add = (sql: Sql, rows: readonly NewBackup[]) =>
  sql`
    insert into key_backups (shard, user_id, version, algorithm, auth_data, etag, key_count, deleted)
    select *, 0, 0, false from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.version)}::bigint[],
      ${rows.map((row) => row.algorithm)}::text[],
      ${rows.map((row) => row.authData)}::text[]
    )`

export const update = (sql: Sql, rows: readonly (Key & { authData: string })[]) =>
  sql`
    update key_backups b set auth_data = t.auth_data
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.version)}::bigint[],
      ${rows.map((row) => row.authData)}::text[]
    ) t (shard, user_id, version, auth_data)
    where b.shard = t.shard and b.user_id = t.user_id and b.version = t.version`

/** Ends backups; their keys are swept away later. */
export const end = (sql: Sql, keys: readonly Key[]) =>
  sql`
    update key_backups b set deleted = true
    from unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.version)}::bigint[]
    ) t (shard, user_id, version)
    where b.shard = t.shard and b.user_id = t.user_id and b.version = t.version`

/** Ends all backups of these users; their keys are dropped later. */
export const endAll = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql`
    update key_backups set deleted = true
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[]) and not deleted`

export type Tally = Key & { etag: number; count: number }

/** Notes what backups hold now. */
export const tally = (sql: Sql, rows: readonly Tally[]) =>
  sql`
    update key_backups b set etag = t.etag, key_count = t.count
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.version)}::bigint[],
      ${rows.map((row) => row.etag)}::bigint[],
      ${rows.map((row) => row.count)}::bigint[]
    ) t (shard, user_id, version, etag, count)
    where b.shard = t.shard and b.user_id = t.user_id and b.version = t.version`
