import type { Sql } from '#store/db.ts'

/** One room at one position of its shard. */
export type RoomAt = { shard: number; roomNid: number; at: number }

export type StateRow = {
  room_nid: number
  shard: number
  type: string
  state_key: string
  event_nid: number
}

const roomsAt = (sql: Sql, rooms: readonly RoomAt[]) => sql`unnest(
  ${rooms.map((each) => each.shard)}::smallint[],
  ${rooms.map((each) => each.roomNid)}::bigint[],
  ${rooms.map((each) => each.at)}::bigint[]
)`

/**
 * The whole state of rooms, each at a position: the current rows, with every key that changed later
 * put back to what its first later change replaced. Rooms whose state was replaced as a whole later
 * are given as they are.
 */
export const stateAt = (sql: Sql, rooms: readonly RoomAt[], withoutMembers: boolean) =>
  sql<StateRow[]>`
    with w (shard, room_nid, at) as materialized (select * from ${roomsAt(sql, rooms)}),
    undone as materialized (
      select distinct on (d.shard, d.room_nid, d.state_key_nid)
        d.shard, d.room_nid, d.type_nid, d.state_key_nid, d.old_event_nid as event_nid
      from w join state_deltas d
        on d.shard = w.shard and d.room_nid = w.room_nid and d.position > w.at
      where d.state_key_nid <> 0
      order by d.shard, d.room_nid, d.state_key_nid, d.position
    ),
    entries as (
      select c.shard, c.room_nid, c.type_nid, c.state_key_nid, c.event_nid
      from w
      join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
      join current_state c
        on c.shard = r.shard and c.room_nid = r.room_nid and c.generation = r.generation
        ${withoutMembers ? sql`and c.type_nid <> (select type_nid from event_types where type = 'm.room.member')` : sql``}
      where not exists (
        select from undone u
        where u.shard = c.shard and u.room_nid = c.room_nid and u.state_key_nid = c.state_key_nid)
      union all
      select * from undone where event_nid is not null
    )
    select s.shard, s.room_nid, t.type, k.state_key, s.event_nid
    from entries s
    join state_keys k on k.state_key_nid = s.state_key_nid
    join event_types t on t.type_nid = s.type_nid
    ${withoutMembers ? sql`where t.type <> 'm.room.member'` : sql``}`

/** One key of one room at a position. */
export type KeyAt = RoomAt & { type: string; stateKey: string }

/** Single keys of rooms, each at a position; keys that were not set are left out. */
export const keysAt = (sql: Sql, keys: readonly KeyAt[]) =>
  sql<StateRow[]>`
    select w.shard, w.room_nid, w.type, w.state_key, found.event_nid
    from unnest(
      ${keys.map((each) => each.shard)}::smallint[],
      ${keys.map((each) => each.roomNid)}::bigint[],
      ${keys.map((each) => each.at)}::bigint[],
      ${keys.map((each) => each.type)}::text[],
      ${keys.map((each) => each.stateKey)}::text[]
    ) w (shard, room_nid, at, type, state_key)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    join event_types t on t.type = w.type collate "C"
    join state_keys k on k.type_nid = t.type_nid and k.state_key = w.state_key collate "C"
    left join lateral (
      select true as is, case when d.state_key_nid <> 0 then d.old_event_nid end as old_event_nid
      from state_deltas d
      where d.shard = w.shard and d.room_nid = w.room_nid and d.position > w.at
        and d.state_key_nid in (0, k.state_key_nid)
      order by d.position, d.state_key_nid
      limit 1
    ) undo on true
    left join current_state c
      on c.shard = r.shard and c.room_nid = r.room_nid and c.generation = r.generation
      and c.type_nid = k.type_nid and c.state_key_nid = k.state_key_nid
    cross join lateral (
      select case when undo.is then undo.old_event_nid else c.event_nid end as event_nid
    ) found
    where found.event_nid is not null`

export type DeltaRow = {
  shard: number
  room_nid: number
  position: number
  /** Null, both: the whole state was replaced. */
  type: string | null
  state_key: string | null
  old_event_nid: number | null
  new_event_nid: number | null
}

/** After `low`, up to and including `high`; before `start` only the last change of each key counts. */
export type DeltaStretch = {
  shard: number
  roomNid: number
  low: number
  start: number
  high: number
}

/** Changes of state in a stretch of each room, oldest first. */
export const deltas = (sql: Sql, stretches: readonly DeltaStretch[]) =>
  sql<DeltaRow[]>`
    with last as (
      -- However long ago a client was here, it is told each key once.
      select distinct on (d.shard, d.room_nid, d.state_key_nid, greatest(d.position, w.start - 1))
        d.*
      from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.roomNid)}::bigint[],
        ${stretches.map((each) => each.low)}::bigint[],
        ${stretches.map((each) => each.start)}::bigint[],
        ${stretches.map((each) => each.high)}::bigint[]
      ) w (shard, room_nid, low, start, high)
      join state_deltas d on d.shard = w.shard and d.room_nid = w.room_nid
        and d.position > w.low and d.position <= w.high
      order by d.shard, d.room_nid, d.state_key_nid, greatest(d.position, w.start - 1),
        d.position desc
    )
    select d.shard, d.room_nid, d.position, t.type, k.state_key, d.old_event_nid, d.new_event_nid
    from last d
    left join state_keys k on k.state_key_nid = d.state_key_nid
    left join event_types t on t.type_nid = d.type_nid
    order by d.room_nid, d.position`
