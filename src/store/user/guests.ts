import type { Sql } from '#store/db.ts'

export type GuestRoom = {
  shard: number
  room_nid: number
  room_id: string
  /** Who may join as a guest: the event, unless it was redacted. */
  json: string | null
}

/** The rooms in which guests of this server are. */
export const rooms = (sql: Sql) =>
  sql<GuestRoom[]>`
    with inside as (
      select distinct m.shard, m.room_nid, m.generation, r.room_id
      from users u
      join user_ids i on i.user_id = u.user_id
      join memberships m on m.user_nid = i.user_nid and m.membership = 'join'
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
      where u.guest and not u.deactivated
    )
    select w.shard, w.room_nid, w.room_id, (
      select j.json
      from event_types t
      join state_keys k on k.type_nid = t.type_nid and k.state_key = ''
      join current_state c on c.shard = w.shard and c.room_nid = w.room_nid
        and c.generation = w.generation and c.type_nid = t.type_nid
        and c.state_key_nid = k.state_key_nid
      join events e on e.shard = c.shard and e.event_nid = c.event_nid
      join event_json j on j.shard = c.shard and j.event_nid = c.event_nid
      where t.type = 'm.room.guest_access' and not exists (
        select from redactions x
        where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id
          and x.applied
      )
    ) as json
    from inside w`

/** The guests in some rooms. */
export const inRooms = (sql: Sql, shards: readonly number[], roomNids: readonly number[]) =>
  sql<{ room_nid: number; user_id: string }[]>`
    select m.room_nid, u.user_id
    from unnest(${shards as number[]}::smallint[], ${roomNids as number[]}::bigint[])
      w (shard, room_nid)
    join memberships m on m.shard = w.shard and m.room_nid = w.room_nid and m.membership = 'join'
    join user_ids i on i.user_nid = m.user_nid
    join users u on u.user_id = i.user_id and u.guest and not u.deactivated`
