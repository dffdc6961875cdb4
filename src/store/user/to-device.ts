import type { Sql } from '#store/db.ts'

export type Received = {
  shard: number
  userId: string
  origin: string
  messageId: string
  at: number
}

/** Claims messages of other servers; answers those that were not here before. */
export const claim = (sql: Sql, rows: readonly Received[]) =>
  sql<{ user_id: string; origin: string; message_id: string }[]>`
    insert into received_messages (shard, user_id, origin, message_id, received_at)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.origin)}::text[],
      ${rows.map((row) => row.messageId)}::text[],
      ${rows.map((row) => row.at)}::bigint[]
    )
    on conflict do nothing
    returning user_id, origin, message_id`

/** Drops some of the claims from before a time; answers how many. */
export async function dropClaims(sql: Sql, before: number, limit: number): Promise<number> {
  const { count } = await sql`
    delete from received_messages r
    using (
      select shard, user_id, origin, message_id from received_messages
      where received_at < ${before} limit ${limit}
    ) as old
    where r.shard = old.shard and r.user_id = old.user_id and r.origin = old.origin
      and r.message_id = old.message_id`
  return count
}

export type Message = {
  shard: number
  userId: string
  /** `*`: each device of the user. */
  deviceId: string
  position: number
  sender: string
  type: string
  content: string
}

/** So many messages wait for one device; of one source that brought a tenth of them no more is kept then. */
const mostWaiting = 10_000

/**
 * Leaves messages for the devices that there are; a device that is named gets its own rather than that for all.
 * Where very many wait already those are not kept whose source, another server or a user of ours, brought much
 * of them: what others send, keys of rooms above all, must not be lost for it. At twice as many nobody's are.
 * Answers how many were not kept.
 */
export async function add(
  sql: Sql,
  rows: readonly Message[],
  most: number = mostWaiting,
): Promise<number> {
  const [row] = await sql<{ not_kept: number }[]>`
    with wanted as materialized (
      select distinct on (m.shard, m.user_id, d.device_id, m.position)
        m.shard, m.user_id, d.device_id, m.position, m.sender, m.type, m.content,
        case when substr(m.sender, strpos(m.sender, ':')) = substr(m.user_id, strpos(m.user_id, ':'))
          then m.sender else substr(m.sender, strpos(m.sender, ':')) end as source
      from unnest(
        ${rows.map((row) => row.shard)}::smallint[],
        ${rows.map((row) => row.userId)}::text[],
        ${rows.map((row) => row.deviceId)}::text[],
        ${rows.map((row) => row.position)}::bigint[],
        ${rows.map((row) => row.sender)}::text[],
        ${rows.map((row) => row.type)}::text[],
        ${rows.map((row) => row.content)}::text[]
      ) as m (shard, user_id, device_id, position, sender, type, content)
      join devices d on d.shard = m.shard and d.user_id = m.user_id
        and (m.device_id = '*' or d.device_id = m.device_id)
      order by m.shard, m.user_id, d.device_id, m.position, m.device_id = '*'
    ), laden as materialized (
      select shard, user_id, device_id
      from (select distinct shard, user_id, device_id from wanted) w
      where (
        select count(*) from (
          select 1 from to_device t
          where t.shard = w.shard and t.user_id = w.user_id and t.device_id = w.device_id
          limit ${most}::integer
        ) waiting
      ) >= ${most}::integer
    ), loads as materialized (
      select shard, user_id, device_id, source, count(*) as own,
        sum(count(*)) over (partition by shard, user_id, device_id) as total
      from (
        select l.shard, l.user_id, l.device_id,
          case when substr(t.sender, strpos(t.sender, ':')) = substr(t.user_id, strpos(t.user_id, ':'))
            then t.sender else substr(t.sender, strpos(t.sender, ':')) end as source
        from laden l
        join to_device t on t.shard = l.shard and t.user_id = l.user_id and t.device_id = l.device_id
      ) waiting
      group by shard, user_id, device_id, source
    ), kept as (
      insert into to_device (shard, user_id, device_id, position, sender, type, content)
      select shard, user_id, device_id, position, sender, type, content
      from wanted w
      where not exists (
        select from loads l
        where l.shard = w.shard and l.user_id = w.user_id and l.device_id = w.device_id
          and (l.total >= 2 * ${most}::integer
            or (l.source = w.source and l.own >= ${most}::integer / 10))
      )
      returning 1
    )
    select ((select count(*) from wanted) - (select count(*) from kept))::integer as not_kept`
  return row!.not_kept
}

/** The device that a client speaks for. */
export type Recipient = { shard: number; userId: string; deviceId: string }

/** With position 0: something lies at or below `low`. */
export type Waiting = { position: number; sender: string; type: string; content: string }

/** What waits for a device after a position, up to and including another, the oldest first. */
export const waiting = (
  sql: Sql,
  { shard, userId, deviceId }: Recipient,
  low: number,
  high: number,
  limit: number,
) =>
  sql<Waiting[]>`
    (
      select position, sender, type, content from to_device
      where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId}
        and position > ${low} and position <= ${high}
      order by position
      limit ${limit}
    )
    union all
    (
      select 0, '', '', '' from to_device
      where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId}
        and position <= ${low}
      limit 1
    )
    order by position`

/** Drops what a device has got, up to a position. What somebody else is about to drop is left to them. */
export const acknowledge = (sql: Sql, { shard, userId, deviceId }: Recipient, upTo: number) =>
  sql`
    delete from to_device where ctid = any(array(
      select ctid from to_device
      where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId}
        and position <= ${upTo}
      for update skip locked))`

/** Drops single messages, which somebody has got. */
export const drop = (sql: Sql, rows: readonly (Recipient & { position: number })[]) =>
  sql`
    delete from to_device t
    using unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    ) as k (shard, user_id, device_id, position)
    where t.shard = k.shard and t.user_id = k.user_id collate "C"
      and t.device_id = k.device_id collate "C" and t.position = k.position`

/** Drops what waits for devices that are removed. */
export const remove = (
  sql: Sql,
  keys: readonly { shard: number; userId: string; deviceId: string }[],
) =>
  sql`
    delete from to_device t
    using unnest(
      ${keys.map((key) => key.shard)}::smallint[],
      ${keys.map((key) => key.userId)}::text[],
      ${keys.map((key) => key.deviceId)}::text[]
    ) as k (shard, user_id, device_id)
    where t.shard = k.shard and t.user_id = k.user_id and t.device_id = k.device_id`

export const removeAll = (sql: Sql, shards: readonly number[], userIds: readonly string[]) =>
  sql`
    delete from to_device
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`
