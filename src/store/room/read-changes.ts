import type { Sql } from '#store/db.ts'
import { inStretch } from '#store/stretch.ts'

/** A stretch of one shard's stream: after `from`, up to and including `to`. */
export type Stretch = { shard: number; from: number; to: number }

/** The last committed position of every room shard. */
export const roomPositions = (sql: Sql) =>
  sql<{ shard: number; position: number }[]>`select shard, position from room_shards`

/** The last committed position of every user shard. */
export const userPositions = (sql: Sql) =>
  sql<{ shard: number; position: number }[]>`select shard, position from user_shards`

export type ChangedRoom = {
  shard: number
  room_nid: number
  position: number
  /** Of the last change of its state, if there is one; of a membership, or of all of it at once. */
  state: number | null
  members: number | null
}

/** Every room with something new in these stretches, and where the newest of it is. */
export const changedRooms = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<ChangedRoom[]>`
    with stretch as materialized (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from)}::bigint[],
        ${stretches.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    )
    select shard, room_nid, max(position) as position,
      max(position) filter (where is_state) as state,
      max(position) filter (where is_member) as members
    from (
      select e.shard, e.room_nid, e.position, false as is_state, false as is_member
      from stretch s cross join lateral ${inStretch(sql, 'events')} e
      union all
      select d.shard, d.room_nid, d.position, true, d.state_key_nid = 0
        or d.old_membership is not null or d.new_membership is not null
      from stretch s cross join lateral ${inStretch(sql, 'state_deltas')} d
    ) as changed
    group by shard, room_nid`

export type MemberChange = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  position: number
  /** Null: the whole state was replaced. */
  user_id: string | null
  event_nid: number | null
  membership: string | null
  old_membership: string | null
}

/** Changes of local users' memberships in these stretches, oldest first. */
export const memberChanges = (sql: Sql, serverName: string, stretches: readonly Stretch[]) =>
  sql<MemberChange[]>`
    with stretch as materialized (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from)}::bigint[],
        ${stretches.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    )
    select d.shard, d.room_nid, r.room_id, r.version, d.position, k.state_key as user_id,
      d.new_event_nid as event_nid, d.new_membership as membership, d.old_membership
    from stretch s
    cross join lateral ${inStretch(sql, 'state_deltas')} d
    left join state_keys k on k.state_key_nid = d.state_key_nid
    join rooms r on r.shard = d.shard and r.room_nid = d.room_nid
    where d.state_key_nid = 0
      or ((d.old_membership is not null or d.new_membership is not null)
        and right(k.state_key, ${serverName.length + 1}) = ${`:${serverName}`})
    order by d.shard, d.position`

export type MembershipRow = {
  user_id: string
  shard: number
  room_nid: number
  room_id: string
  version: string
  membership: string
  event_nid: number | null
  position: number
  /** Set if the row is newer than the vector: what counts there is what it replaced. */
  newer: boolean
  old_nid: number | null
  old_membership: string | null
}

/** Every membership of some local users; what is newer than the vector comes with what it replaced. */
export const membershipsAt = (sql: Sql, userIds: readonly string[], rooms: Float64Array) =>
  sql<MembershipRow[]>`
    select u.user_id, m.shard, m.room_nid, r.room_id, r.version, m.membership, m.event_nid,
      moved.position, moved.position > at.position as newer,
      undo.old_event_nid as old_nid, undo.old_membership
    from user_ids u
    join memberships m on m.user_nid = u.user_nid
    join rooms r
      on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    join unnest(${[...rooms]}::bigint[]) with ordinality at (position, shard)
      on at.shard = m.shard + 1
    left join lateral (
      -- Staged rows have no position: they came with the whole state.
      select max(d.position) as position
      from state_deltas d
      where d.shard = m.shard and d.room_nid = m.room_nid and d.state_key_nid = 0
    ) flip on m.position = 0
    cross join lateral (select coalesce(flip.position, m.position) as position) moved
    left join lateral (
      select d.old_event_nid, d.old_membership
      from state_deltas d
      join state_keys k on k.state_key_nid = d.state_key_nid and k.state_key = u.user_id
      where d.shard = m.shard and d.room_nid = m.room_nid and d.position > at.position
        and (d.old_membership is not null or d.new_membership is not null)
      order by d.position
      limit 1
    ) undo on moved.position > at.position
    where u.user_id = any(${userIds as string[]}::text[])`

/** The local users with any membership in these rooms. */
export const localMembers = (sql: Sql, serverName: string, roomNids: readonly number[]) =>
  sql<{ user_id: string }[]>`
    select distinct u.user_id
    from memberships m
    join user_ids u on u.user_nid = m.user_nid
    join servers s on s.server_nid = u.server_nid and s.name = ${serverName}
    where (m.shard, m.room_nid) in (
      select shard, room_nid from rooms where room_nid = any(${roomNids as number[]}::bigint[])
    )`
