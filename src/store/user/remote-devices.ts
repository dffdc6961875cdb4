import { type Sql, booleanArray } from '#store/db.ts'

/** One room that a user of another server was in when their list was fetched, and since when. */
export type Anchor = { shard: number; roomNid: number; generation: number; position: number }

export type DeviceList = {
  shard: number
  userId: string
  /** Null: none was seen yet. */
  streamId: number | null
  stale: boolean
  position: number
}

export type KnownList = {
  user_id: string
  stream_id: number | null
  stale: boolean
  cached: boolean
  position: number
}

/** How far the lists of these users are known. */
export const lists = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<KnownList[]>`
    select user_id, stream_id, stale, cached, position from remote_device_lists
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** Notes updates of lists, each user named once. */
export const putLists = (sql: Sql, rows: readonly DeviceList[]) =>
  sql`
    insert into remote_device_lists (shard, user_id, stream_id, stale, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.streamId)}::bigint[],
      ${booleanArray(
        sql,
        rows.map((row) => row.stale),
      )}::boolean[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id) do update set
      stream_id = excluded.stream_id, stale = excluded.stale, position = excluded.position`

export type KeptList = {
  shard: number
  userId: string
  streamId: number | null
  anchor: Anchor
  /** Null: nobody need be told. */
  position: number | null
}

/** Notes that whole lists are kept, each user named once. */
export const keepLists = (sql: Sql, rows: readonly KeptList[]) =>
  sql`
    insert into remote_device_lists as l (shard, user_id, stream_id, position, stale, cached,
      anchor_shard, anchor_room, anchor_generation, anchor_position)
    select t.shard, t.user_id, t.stream_id, coalesce(t.position, 0), false, true,
      t.anchor_shard, t.anchor_room, t.anchor_generation, t.anchor_position
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.streamId)}::bigint[],
      ${rows.map((row) => row.position)}::bigint[],
      ${rows.map((row) => row.anchor.shard)}::smallint[],
      ${rows.map((row) => row.anchor.roomNid)}::bigint[],
      ${rows.map((row) => row.anchor.generation)}::bigint[],
      ${rows.map((row) => row.anchor.position)}::bigint[]
    ) t (shard, user_id, stream_id, position,
      anchor_shard, anchor_room, anchor_generation, anchor_position)
    on conflict (shard, user_id) do update set
      stream_id = excluded.stream_id, stale = false, cached = true, failures = 0, retry_at = 0,
      position = greatest(l.position, excluded.position),
      anchor_shard = excluded.anchor_shard, anchor_room = excluded.anchor_room,
      anchor_generation = excluded.anchor_generation, anchor_position = excluded.anchor_position`

/** Notes that stale lists could not be fetched, and when to try again. */
export const postpone = (
  sql: Sql,
  rows: readonly { shard: number; userId: string; retryAt: number }[],
) =>
  sql`
    update remote_device_lists l set failures = l.failures + 1, retry_at = t.retry_at
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.retryAt)}::bigint[]
    ) t (shard, user_id, retry_at)
    where l.shard = t.shard and l.user_id = t.user_id`

/** Notes that lists are not kept any more: no room is shared. */
export const abandon = (sql: Sql, users: readonly { shard: number; userId: string }[]) =>
  sql`
    update remote_device_lists l set cached = false, stale = false
    from unnest(
      ${users.map((user) => user.shard)}::smallint[],
      ${users.map((user) => user.userId)}::text[]
    ) t (shard, user_id)
    where l.shard = t.shard and l.user_id = t.user_id`

export type Standing = {
  user_id: string
  /** Zero: no list. */
  position: number
  /** The list is kept, whether it is good or not. */
  cached: boolean
  /** It is kept, and was told of every change. */
  is_good: boolean
  failures: number
  /** A room that we share now; null if there is none. */
  shard: number | null
  room_nid: number | null
  generation: number | null
  since: number | null
}

/** How much the lists of these users are worth, and a room that this server shares with each. */
export const standings = (
  sql: Sql,
  serverName: string,
  userIds: readonly string[],
  shards: readonly number[],
) =>
  sql<Standing[]>`
    with here as materialized (select server_nid from servers where name = ${serverName})
    select w.user_id, coalesce(l.position, 0) as position, coalesce(l.cached, false) as cached,
      coalesce(l.cached and not l.stale, false) and exists (
        select from rooms r
        join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
          and m.generation = r.generation and m.user_nid = u.user_nid
          and m.membership = 'join' and m.position = l.anchor_position
        join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
          and s.generation = r.generation and s.server_nid = (select server_nid from here)
          and s.joined > 0
        where r.shard = l.anchor_shard and r.room_nid = l.anchor_room
          and r.generation = l.anchor_generation
      ) as is_good,
      coalesce(l.failures, 0) as failures,
      a.shard, a.room_nid, a.generation, a.position as since
    from unnest(${shards as number[]}::smallint[], ${userIds as string[]}::text[]) w (shard, user_id)
    left join remote_device_lists l on l.shard = w.shard and l.user_id = w.user_id
    left join user_ids u on u.user_id = w.user_id
    left join lateral (
      select m.shard, m.room_nid, m.generation, m.position
      from memberships m
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid
        and r.generation = m.generation
      join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
        and s.generation = r.generation and s.server_nid = (select server_nid from here)
        and s.joined > 0
      where m.user_nid = u.user_nid and m.membership = 'join'
      limit 1
    ) a on true`

export type StoredDevice = { user_id: string; device_id: string; content: string }

/** The devices on the lists of these users. */
export const list = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql<StoredDevice[]>`
    select user_id, device_id, content from remote_devices
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

type Key = { shard: number; userId: string; deviceId: string }

/** Replaces devices, each named once. */
export const put = (sql: Sql, rows: readonly (Key & { content: string })[]) =>
  sql`
    insert into remote_devices as r (shard, user_id, device_id, content)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.content)}::text[]
    )
    on conflict (shard, user_id, device_id) do update set content = excluded.content`

export const remove = (sql: Sql, keys: readonly Key[]) =>
  sql`
    delete from remote_devices r
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.deviceId)}::text[]
    ) k (shard, user_id, device_id)
    where r.shard = k.shard and r.user_id = k.user_id and r.device_id = k.device_id`

export const removeAll = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql`
    delete from remote_devices
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

export type DueList = { user_id: string; failures: number }

/** Stale lists whose time has come, those of some servers excepted. */
export const due = (sql: Sql, now: number, except: readonly string[], limit: number) =>
  sql<DueList[]>`
    select user_id, failures from remote_device_lists
    where stale and cached and retry_at <= ${now}
      and substr(user_id, strpos(user_id, ':') + 1) <> all(${except as string[]}::text[])
    order by retry_at
    limit ${limit}`

/** Those of some users with whom somebody of this server shares a room. */
export async function sharing(
  sql: Sql,
  serverName: string,
  userIds: readonly string[],
): Promise<Set<string>> {
  const rows = await sql<{ user_id: string }[]>`
    select u.user_id from user_ids u
    where u.user_id = any(${userIds as string[]}::text[]) and exists (
      select from memberships m
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid
        and r.generation = m.generation
      join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
        and s.generation = r.generation and s.joined > 0
      join servers v on v.server_nid = s.server_nid and v.name = ${serverName}
      where m.user_nid = u.user_nid and m.membership = 'join'
    )`
  return new Set(rows.map((row) => row.user_id))
}

/** When the next stale list that is not due yet will be. */
export async function nextDue(sql: Sql, now: number): Promise<number | undefined> {
  const [row] = await sql<{ retry_at: number | null }[]>`
    select min(retry_at) as retry_at from remote_device_lists
    where stale and cached and retry_at > ${now}`
  return row?.retry_at ?? undefined
}
