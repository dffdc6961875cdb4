import type { Sql } from '#store/db.ts'

/** The member events, as JSON text, of a user in the rooms that they are joined to. */
export const list = (sql: Sql, userId: string) =>
  sql<{ room_id: string; json: string }[]>`
    select r.room_id, j.json
    from user_ids u
    join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    join event_json j on j.shard = m.shard and j.event_nid = m.event_nid
    where u.user_id = ${userId}
    order by r.room_id`
