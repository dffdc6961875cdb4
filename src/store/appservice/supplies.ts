import type { Sql } from '#store/db.ts'

export type Device = { shard: number; user_id: string; device_id: string }

/** The devices with keys of the users of ours in one shard, those after one of them. */
export const devicesIn = (
  sql: Sql,
  shard: number,
  after: Pick<Device, 'user_id' | 'device_id'>,
  limit: number,
) =>
  sql<Device[]>`
    select shard, user_id, device_id from device_keys
    where shard = ${shard} and (user_id, device_id) > (${after.user_id}, ${after.device_id})
    order by user_id, device_id
    limit ${limit}`

/** The devices with keys of some users. */
export const devicesOf = (sql: Sql, shards: readonly number[], userIds: readonly string[]) =>
  sql<Device[]>`
    select k.shard, k.user_id, k.device_id
    from unnest(${shards as number[]}::smallint[], ${userIds as string[]}::text[]) w (shard, user_id)
    join device_keys k on k.shard = w.shard and k.user_id = w.user_id collate "C"`

export type SupplyRow = {
  user_id: string
  device_id: string
  /** Null with an unused fallback key. */
  count: number | null
  algorithm: string
}

/** What some devices have left to give: one-time keys by algorithm, and unused fallback keys. */
export const supplies = (sql: Sql, devices: readonly Device[]) =>
  sql<SupplyRow[]>`
    with w as materialized (
      select * from unnest(
        ${devices.map((device) => device.shard)}::smallint[],
        ${devices.map((device) => device.user_id)}::text[],
        ${devices.map((device) => device.device_id)}::text[]
      ) t (shard, user_id, device_id)
    )
    select k.user_id, k.device_id, count(*)::bigint as count, k.algorithm
    from w join one_time_keys k on k.shard = w.shard and k.user_id = w.user_id collate "C"
      and k.device_id = w.device_id collate "C" and k.claimed_at is null
    group by k.user_id, k.device_id, k.algorithm
    union all
    select f.user_id, f.device_id, null, f.algorithm
    from w join fallback_keys f on f.shard = w.shard and f.user_id = w.user_id collate "C"
      and f.device_id = w.device_id collate "C" and not f.used`

/** Users for whose devices messages wait, by their names from one on: each found by a step of the index. */
export const addressedUsers = (sql: Sql, shard: number) =>
  sql<{ user_id: string }[]>`
    with recursive users as (
      (select user_id from to_device where shard = ${shard} order by user_id limit 1)
      union all
      select (
        select d.user_id from to_device d
        where d.shard = ${shard} and d.user_id > u.user_id
        order by d.user_id limit 1
      )
      from users u where u.user_id is not null
    )
    select user_id from users where user_id is not null`

export type MessageRow = Device & {
  position: number
  sender: string
  type: string
  content: string
}

/** The oldest messages for the devices of some users. */
export const messages = (
  sql: Sql,
  users: readonly { shard: number; userId: string }[],
  limit: number,
) =>
  sql<MessageRow[]>`
    select d.shard, d.user_id, d.device_id, d.position, d.sender, d.type, d.content
    from unnest(
      ${users.map((user) => user.shard)}::smallint[],
      ${users.map((user) => user.userId)}::text[]
    ) with ordinality w (shard, user_id, place)
    cross join lateral (
      select * from to_device t
      where t.shard = w.shard and t.user_id = w.user_id collate "C"
      order by t.position
      limit ${limit}
    ) d
    order by w.place, d.position
    limit ${limit}`
