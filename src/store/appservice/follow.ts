import { type Pool, type Sql } from '#store/db.ts'
import { eventFlags } from '#store/room/batch.ts'
import { type Stretch, move, stretchesOf } from '#store/two-cursors.ts'
import {
  type Entry,
  type NewReceipt,
  put,
  putLists,
  putListsOfMembers,
  putReceipts,
} from './queue.ts'

/** Begins to follow where the shards are now, unless they are followed already. */
export const begin = (sql: Sql) =>
  sql`
    insert into appservice_cursors (shard, rooms, users)
    select r.shard, r.position, u.position from room_shards r join user_shards u using (shard)
    on conflict (shard) do nothing`

/** Follows no longer. */
export const end = (sql: Sql) => sql`delete from appservice_cursors`

/** An event that became visible. */
export type Fresh = {
  shard: number
  room_nid: number
  room_id: string
  event_nid: number
  position: number
  sender: string
  /** Whom a member event is about. */
  target: string | null
  /** From here on the room is encrypted. */
  encrypts: boolean
}

const { rejected, softFailed, outlier } = eventFlags

/** More than any stretch has: the order, and with it the index, is what counts. */
const most = 1_000_000

/**
 * The live events of some stretches, in their order; and memberships of users of ours in rooms that we know
 * from outside only, which have no place in a stream of events. Each row is looked up by an index: planned as
 * joins, all of these tables would be read for a handful of events.
 */
export const fresh = (sql: Sql, serverName: string, stretches: readonly Stretch[]) =>
  sql<Fresh[]>`
    with stretch as materialized (select * from ${stretchesOf(sql, stretches)}),
    live as (
      select e.* from stretch s
      cross join lateral (
        select shard, room_nid, event_nid, position, sender_nid, state_key_nid, type_nid from events
        where shard = s.shard and position > s.low and position <= s.high
          and flags & ${rejected | softFailed | outlier} = 0
        order by position
        limit ${most}
      ) e
    ),
    outside as (
      select d.shard, d.room_nid, d.event_nid, d.position, e.sender_nid, d.state_key_nid,
        null::integer as type_nid
      from stretch s
      cross join lateral (
        select shard, room_nid, new_event_nid as event_nid, position, state_key_nid
        from state_deltas
        where shard = s.shard and position > s.low and position <= s.high
          and new_membership is not null and state_key_nid <> 0
          and new_membership is distinct from old_membership
        order by position
        limit ${most}
      ) d
      cross join lateral (
        select sender_nid from events
        where shard = d.shard and event_nid = d.event_nid and flags & ${rejected} = 0
          and (position is null or flags & ${outlier} <> 0)
        limit 1
      ) e
    ),
    named as (
      select f.*,
        (select room_id from rooms r where r.shard = f.shard and r.room_nid = f.room_nid) as room_id,
        (select user_id from user_ids u where u.user_nid = f.sender_nid) as sender,
        (
          select k.state_key from state_keys k
          where k.state_key_nid = f.state_key_nid
            and k.type_nid = (select type_nid from event_types where type = 'm.room.member')
        ) as target,
        coalesce(f.state_key_nid is not null and f.type_nid = (
          select type_nid from event_types where type = 'm.room.encryption'), false) as encrypts
      from (select *, false as from_outside from live union all select *, true from outside) f
    )
    select shard, room_nid, room_id, event_nid, position, sender, target, encrypts from named
    where room_id is not null and sender is not null and (not from_outside
      or right(target, ${serverName.length + 1}) = ${`:${serverName}`})
    order by shard, position, event_nid`

type Room = { shard: number; room_nid: number }

/** The users of ours who are joined to some rooms. */
export const members = (sql: Sql, serverName: string, rooms: readonly Room[]) =>
  sql<{ room_nid: number; user_id: string }[]>`
    select w.room_nid, u.user_id
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.room_nid)}::bigint[]
    ) w (shard, room_nid)
    cross join lateral (
      select generation from rooms where shard = w.shard and room_nid = w.room_nid limit 1
    ) r
    cross join lateral (
      select user_nid from memberships
      where shard = w.shard and room_nid = w.room_nid and generation = r.generation
        and membership = 'join'
      order by position
      limit ${most}
    ) m
    cross join lateral (
      select user_id from user_ids
      where user_nid = m.user_nid
        and server_nid = (select server_nid from servers where name = ${serverName})
      limit 1
    ) u`

export type Move = {
  shard: number
  room_nid: number
  position: number
  /** Null: the whole state was replaced. */
  user_id: string | null
  old_membership: string | null
  new_membership: string | null
}

/** What became of the members of some rooms after a position, oldest first. */
export const moves = (sql: Sql, rooms: readonly (Room & { low: number })[]) =>
  sql<Move[]>`
    select d.shard, d.room_nid, d.position, k.state_key as user_id, d.old_membership,
      d.new_membership
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.room_nid)}::bigint[],
      ${rooms.map((each) => each.low)}::bigint[]
    ) w (shard, room_nid, low)
    join state_deltas d on d.shard = w.shard and d.room_nid = w.room_nid and d.position > w.low
    left join state_keys k on k.state_key_nid = d.state_key_nid
    where d.state_key_nid = 0 or d.old_membership is not null or d.new_membership is not null
    order by d.position`

/** The aliases that this server has for some rooms. */
export const aliases = (sql: Sql, roomIds: readonly string[]) =>
  sql<{ room_id: string; alias: string }[]>`
    select room_id, alias from room_aliases where room_id = any(${roomIds as string[]}::text[])`

/** What some rooms are called. */
export const roomIds = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ room_nid: number; room_id: string }[]>`
    select r.room_nid, r.room_id
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid`

export type Receipt = {
  shard: number
  position: number
  room_id: string
  room_shard: number
  room_nid: number
  user_id: string
  type: string
  thread_id: string
}

/** The receipts of some stretches of user shards. */
export const receipts = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<Receipt[]>`
    select c.shard, c.position, c.room_id, r.shard as room_shard, r.room_nid, c.user_id, c.type,
      c.thread_id
    from ${stretchesOf(sql, stretches)}
    cross join lateral (
      select * from receipts
      where shard = s.shard and position > s.low and position <= s.high
        and type in ('m.read', 'm.read.private')
      order by position
      limit ${most}
    ) c
    cross join lateral (
      select shard, room_nid from rooms where room_id = c.room_id limit 1
    ) r`

/** Users whose device lists changed in some stretches of user shards. */
export const changedLists = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<{ user_id: string }[]>`
    with stretch as materialized (select * from ${stretchesOf(sql, stretches)})
    select d.user_id from stretch s
    cross join lateral (
      select user_id from device_lists
      where shard = s.shard and position > s.low and position <= s.high
      order by position
      limit ${most}
    ) d
    union
    select d.user_id from stretch s
    cross join lateral (
      select user_id from remote_device_lists
      where shard = s.shard and position > s.low and position <= s.high
      order by position
      limit ${most}
    ) d`

/** The rooms that some users are joined to. */
export const roomsOf = (sql: Sql, userIds: readonly string[]) =>
  sql<(Room & { user_id: string; room_id: string })[]>`
    select u.user_id, r.shard, r.room_nid, r.room_id
    from user_ids u
    join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    where u.user_id = any(${userIds as string[]}::text[])`

/** Users for whose devices messages came in some stretches of user shards. */
export const addressed = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<{ user_id: string }[]>`
    select distinct d.user_id
    from ${stretchesOf(sql, stretches)}
    cross join lateral (
      select user_id from to_device
      where shard = s.shard and position > s.low and position <= s.high
      order by position
      limit ${most}
    ) d`

export type ListsOfRoom = Room & { appserviceNid: number }
export type ListNews = { appserviceNid: number; userId: string; left: boolean }

/** Queues what some stretches of room or user shards have, and moves the cursors. */
export const write = (
  pool: Pool,
  of: 'rooms' | 'users',
  stretches: readonly Stretch[],
  found: {
    events?: readonly Entry[]
    receipts?: readonly NewReceipt[]
    lists?: readonly ListNews[]
    /** Rooms of whose members all lists are new. */
    listsOf?: readonly ListsOfRoom[]
  },
  now: number,
): Promise<unknown> =>
  pool.begin((sql) => {
    const { events = [], receipts: read = [], lists = [], listsOf = [] } = found
    return Promise.all([
      move(sql, 'appservice_cursors', of, stretches),
      events.length > 0 && put(sql, events, now),
      read.length > 0 && putReceipts(sql, read),
      lists.length > 0 && putLists(sql, lists),
      listsOf.length > 0 && putListsOfMembers(sql, listsOf),
    ])
  })
