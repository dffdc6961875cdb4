import type { Sql } from '#store/db.ts'

/** Where a user last stopped being joined to rooms, each up to a position; rooms where they never were are left out. */
export const lastLeft = (
  sql: Sql,
  rooms: readonly { shard: number; roomNid: number; at: number }[],
  userId: string,
) =>
  sql<{ room_nid: number; position: number }[]>`
    select w.room_nid, d.position
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.roomNid)}::bigint[],
      ${rooms.map((each) => each.at)}::bigint[]
    ) w (shard, room_nid, at)
    join event_types t on t.type = 'm.room.member'
    join state_keys k on k.type_nid = t.type_nid and k.state_key = ${userId}
    cross join lateral (
      select position
      from state_deltas
      where shard = w.shard and room_nid = w.room_nid and position <= w.at
        and state_key_nid = k.state_key_nid
        and old_membership = 'join' and new_membership is distinct from 'join'
      order by position desc
      limit 1
    ) d`

/** A user's membership in one room, as last committed. */
export const membershipOf = (sql: Sql, roomId: string, userId: string) =>
  sql<
    {
      shard: number
      room_nid: number
      membership: string
      event_nid: number | null
      position: number
    }[]
  >`
    select m.shard, m.room_nid, m.membership, m.event_nid, m.position
    from rooms r
    join memberships m
      on m.shard = r.shard and m.room_nid = r.room_nid and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    where r.room_id = ${roomId} and u.user_id = ${userId}`

/** The rooms a user is joined to, as last committed. */
export const joinedRooms = (sql: Sql, userId: string) =>
  sql<{ room_id: string }[]>`
    select r.room_id
    from user_ids u
    join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
    join rooms r
      on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    where u.user_id = ${userId}
    order by r.room_id`

export type HeroRow = {
  shard: number
  room_nid: number
  user_id: string
  membership: string
  event_nid: number
}

/** Of each room the members, other than one, who have been there longest: joined or invited first. */
export const heroes = (
  sql: Sql,
  shards: readonly number[],
  roomNids: readonly number[],
  except: string,
) =>
  sql<HeroRow[]>`
    select w.shard, w.room_nid, u.user_id, m.membership, m.event_nid
    from unnest(${shards as number[]}::smallint[], ${roomNids as number[]}::bigint[])
      w (shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    cross join lateral (
      (select user_nid, membership, event_nid, position from memberships
        where shard = r.shard and room_nid = r.room_nid and generation = r.generation
          and membership = 'join'
        order by position limit 6)
      union all
      (select user_nid, membership, event_nid, position from memberships
        where shard = r.shard and room_nid = r.room_nid and generation = r.generation
          and membership = 'invite'
        order by position limit 6)
      union all
      (select user_nid, membership, event_nid, position from memberships
        where shard = r.shard and room_nid = r.room_nid and generation = r.generation
          and membership = 'leave'
        order by position limit 6)
      union all
      (select user_nid, membership, event_nid, position from memberships
        where shard = r.shard and room_nid = r.room_nid and generation = r.generation
          and membership = 'ban'
        order by position limit 6)
    ) m
    join user_ids u on u.user_nid = m.user_nid
    where u.user_id <> ${except}
    order by w.room_nid, m.position`

/** Who is joined to a room, as last committed. */
export const joined = (sql: Sql, shard: number, roomNid: number) =>
  sql<{ user_id: string; event_nid: number }[]>`
    select u.user_id, m.event_nid
    from rooms r
    join memberships m
      on m.shard = r.shard and m.room_nid = r.room_nid and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    where r.shard = ${shard} and r.room_nid = ${roomNid} and m.membership = 'join'
      and m.event_nid is not null
    order by m.position`

/** The member events of a room at a position of its shard. */
export const eventsAt = (sql: Sql, shard: number, roomNid: number, at: number) =>
  sql<{ event_nid: number }[]>`
    with undone as materialized (
      select distinct on (d.state_key_nid) d.state_key_nid, d.old_event_nid as event_nid
      from state_deltas d
      join event_types t on t.type_nid = d.type_nid and t.type = 'm.room.member'
      where d.shard = ${shard} and d.room_nid = ${roomNid} and d.position > ${at}
      order by d.state_key_nid, d.position
    )
    select c.event_nid
    from rooms r
    join current_state c
      on c.shard = r.shard and c.room_nid = r.room_nid and c.generation = r.generation
      and c.type_nid = (select type_nid from event_types where type = 'm.room.member')
    where r.shard = ${shard} and r.room_nid = ${roomNid}
      and not exists (select from undone u where u.state_key_nid = c.state_key_nid)
    union all
    select event_nid from undone where event_nid is not null`

/** The sender of a user's invite to a room. */
export const inviters = (sql: Sql, roomId: string, userId: string) =>
  sql<{ user_id: string }[]>`
    select s.user_id
    from rooms r
    join memberships m
      on m.shard = r.shard and m.room_nid = r.room_nid and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    join user_ids s on s.user_nid = m.sender_nid
    where r.room_id = ${roomId} and u.user_id = ${userId} and m.membership = 'invite'`
