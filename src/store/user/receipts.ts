import { type Sql, byteaArray } from '#store/db.ts'
import { isUnseen } from '#store/room/unseen.ts'
import type { Stretch } from './read-changes.ts'

export type Row = {
  shard: number
  userId: string
  roomId: string
  type: string
  /** '' for none. */
  threadId: string
  eventId: string
  eventPosition: number | null
  ts: number
  position: number
}

/**
 * Moves receipts, each named once: forwards only, as far as places are known. Answers those that moved.
 */
export const put = (sql: Sql, rows: readonly Row[]) =>
  sql<{ user_id: string; room_id: string; type: string; thread_id: string; position: number }[]>`
    insert into receipts as r (
      shard, user_id, room_id, type, thread_id, event_id, event_position, ts, position
    )
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.roomId)}::text[],
      ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.threadId)}::text[],
      ${rows.map((row) => row.eventId)}::text[],
      ${rows.map((row) => row.eventPosition)}::bigint[],
      ${rows.map((row) => row.ts)}::bigint[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id, room_id, type, thread_id) do update
      set event_id = excluded.event_id, event_position = excluded.event_position,
        ts = excluded.ts, position = excluded.position
      where r.event_id <> excluded.event_id and (
        r.event_position is null or excluded.event_position is null
        or excluded.event_position >= r.event_position
      )
    returning user_id, room_id, type, thread_id, position`

export type ReceiptRow = {
  room_id: string
  user_id: string
  type: string
  thread_id: string
  event_id: string
  ts: number
}

/** What everybody may see of some rooms in these stretches, and what is a user's alone in `own`. */
export const between = (
  sql: Sql,
  userId: string,
  roomIds: readonly string[],
  stretches: readonly Stretch[],
  own: Stretch,
) =>
  sql<ReceiptRow[]>`
    select c.room_id, c.user_id, c.type, c.thread_id, c.event_id, c.ts
    from unnest(
      ${stretches.map((each) => each.shard)}::smallint[],
      ${stretches.map((each) => each.from)}::bigint[],
      ${stretches.map((each) => each.to)}::bigint[]
    ) as s (shard, low, high)
    join receipts c on c.shard = s.shard and c.position > s.low and c.position <= s.high
    where c.room_id = any(${roomIds as string[]}::text[]) and c.type = 'm.read'
    union all
    select room_id, user_id, type, thread_id, event_id, ts
    from receipts
    where shard = ${own.shard} and position > ${own.from} and position <= ${own.to}
      and user_id = ${userId} and type = 'm.read.private'`

/**
 * The newest receipts of members of some rooms that a user may see, their own first: at most `limit`
 * a room. `upTo` has the last position of each shard.
 */
export const newest = (
  sql: Sql,
  userId: string,
  rooms: readonly { shard: number; roomNid: number }[],
  upTo: Iterable<number>,
  limit: number,
) =>
  sql<ReceiptRow[]>`
    select r.room_id, found.*
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.roomNid)}::bigint[]
    ) w (shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    cross join lateral (
      select c.user_id, c.type, c.thread_id, c.event_id, c.ts
      from receipts c
      join user_ids u on u.user_id = c.user_id
      join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
        and m.generation = r.generation and m.user_nid = u.user_nid and m.membership = 'join'
      where c.room_id = r.room_id
        and c.position <= (${[...upTo]}::bigint[])[c.shard + 1]
        and (c.type = 'm.read' or (c.type = 'm.read.private' and c.user_id = ${userId}))
      order by (c.user_id = ${userId}) desc, c.ts desc
      limit ${limit}
    ) found`

export type OwnRow = { room_id: string; thread_id: string; event_position: number | null }

/** How far a user has read in some rooms. */
export const own = (sql: Sql, shard: number, userId: string, roomIds: readonly string[]) =>
  sql<OwnRow[]>`
    select room_id, thread_id, max(event_position) as event_position
    from receipts
    where shard = ${shard} and user_id = ${userId}
      and room_id = any(${roomIds as string[]}::text[]) and type in ('m.read', 'm.read.private')
    group by room_id, thread_id`

export type EventPlace = { event_id: Uint8Array; room_id: string; position: number }

/** Where some events, or the nearest live ones before them, stand in the streams of their shards. */
export const placesOf = (sql: Sql, eventIds: readonly Uint8Array[]) =>
  sql<EventPlace[]>`
    select e.event_id, r.room_id, coalesce(e.position, (
      select p.position from events p
      where p.shard = e.shard and p.chain = e.chain and p.chain_index <= e.chain_index
        and p.room_nid = e.room_nid and p.position is not null
      order by p.chain_index desc
      limit 1
    ), (
      -- Of an import: what is read before it.
      select p.position
      from spans own
      join spans s on s.shard = own.shard and s.room_nid = own.room_nid
        and s.order_key < own.order_key
      cross join lateral (
        select l.position from events l
        where l.shard = s.shard and l.chain = s.chain and l.position is not null
          and (s.from_index is null or l.chain_index >= s.from_index)
          and (s.to_index is null or l.chain_index <= s.to_index)
        order by l.chain_index desc limit 1
      ) p
      where own.shard = e.shard and own.room_nid = e.room_nid and own.chain = e.chain
        and (own.from_index is null or own.from_index <= e.chain_index)
        and (own.to_index is null or own.to_index >= e.chain_index)
      order by s.order_key desc
      limit 1
    ), 0) as position
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    join rooms r on r.shard = e.shard and r.room_nid = e.room_nid
    where i.event_id = any(${byteaArray(sql, eventIds)}::bytea[]) and i.event_nid > 0
      and not ${isUnseen(sql, sql`e`)}`

/** Which of these users are joined to which of these rooms. */
export const joined = (sql: Sql, pairs: readonly { roomId: string; userId: string }[]) =>
  sql<{ room_id: string; user_id: string }[]>`
    select r.room_id, u.user_id
    from unnest(
      ${pairs.map((each) => each.roomId)}::text[], ${pairs.map((each) => each.userId)}::text[]
    ) w (room_id, user_id)
    join rooms r on r.room_id = w.room_id collate "C"
    join user_ids u on u.user_id = w.user_id collate "C"
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.user_nid = u.user_nid
    where m.membership = 'join'`
