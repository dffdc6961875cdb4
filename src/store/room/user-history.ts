import type { Sql } from '#store/db.ts'

/** What users did in rooms over time, for administrators. */

export type MemberEvent = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  event_nid: number
}

/**
 * The member events of a user since a time, in all rooms. The auth events of each name the one before
 * it, so that they are found from the last one, whatever else there is in the room.
 */
export const memberEventsSince = (sql: Sql, userId: string, since: number) =>
  sql<MemberEvent[]>`
    with recursive own as (
      select k.state_key_nid from state_keys k
      join event_types t on t.type_nid = k.type_nid and t.type = 'm.room.member'
      where k.state_key = ${userId}
    ), line as (
      select e.shard, e.room_nid, e.event_nid, e.auth_nids
      from user_ids u
      join memberships m on m.user_nid = u.user_nid
      join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
      join events e on e.shard = m.shard and e.event_nid = m.event_nid
      where u.user_id = ${userId} and e.origin_server_ts >= ${since}
      union
      select e.shard, e.room_nid, e.event_nid, e.auth_nids
      from line l
      cross join unnest(l.auth_nids) cited (event_nid)
      join events e on e.shard = l.shard and e.event_nid = cited.event_nid
      where e.state_key_nid = (select state_key_nid from own) and e.origin_server_ts >= ${since}
    )
    select r.shard, r.room_nid, r.room_id, r.version, l.event_nid
    from line l
    join rooms r on r.shard = l.shard and r.room_nid = l.room_nid`

/** How many invites a user sent since a time, into rooms that they are or were in. */
export async function sentInvites(sql: Sql, userId: string, since: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count
    from user_ids u
    join memberships m on m.user_nid = u.user_nid
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    join state_deltas d on d.shard = r.shard and d.room_nid = r.room_nid
      and d.new_membership = 'invite'
    join events e on e.shard = d.shard and e.event_nid = d.new_event_nid
      and e.sender_nid = u.user_nid and e.origin_server_ts >= ${since}
    where u.user_id = ${userId}`
  return row!.count
}
