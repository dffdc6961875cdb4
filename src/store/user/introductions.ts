import type { Sql } from '#store/db.ts'

/** How far each room shard was gone through. */
export const cursors = (sql: Sql) =>
  sql<{ shard: number; position: number }[]>`select shard, position from introduction_cursors`

/** Moves cursors, and none of them back. */
export const advance = (sql: Sql, to: readonly (readonly [shard: number, position: number])[]) =>
  sql`
    update introduction_cursors c set position = w.position
    from unnest(
      ${to.map(([shard]) => shard)}::smallint[],
      ${to.map(([, position]) => position)}::bigint[]
    ) w (shard, position)
    where c.shard = w.shard and c.position < w.position`

/** A user who came to a room; null: any user of this server, since the whole state is another one. */
export type Arrival = { shard: number; roomNid: number; userId: string | null }

/** Those who are still there, in rooms where users of other servers are. */
export const toIntroduce = (sql: Sql, serverName: string, arrivals: readonly Arrival[]) =>
  sql<{ user_id: string; room_id: string }[]>`
    with arrivals as materialized (
      select w.user_id, r.room_id, r.shard, r.room_nid, r.generation, own.server_nid
      from unnest(
        ${arrivals.map((each) => each.shard)}::smallint[],
        ${arrivals.map((each) => each.roomNid)}::bigint[],
        ${arrivals.map((each) => each.userId)}::text[]
      ) w (shard, room_nid, user_id)
      join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
      join servers own on own.name = ${serverName}
      where exists (
        select from room_servers s
        where s.shard = r.shard and s.room_nid = r.room_nid and s.generation = r.generation
          and s.joined > 0 and s.server_nid <> own.server_nid)
    )
    select a.user_id, a.room_id
    from arrivals a
    join user_ids u on u.user_id = a.user_id
    join memberships m on m.shard = a.shard and m.room_nid = a.room_nid
      and m.generation = a.generation and m.user_nid = u.user_nid and m.membership = 'join'
    union
    select u.user_id, a.room_id
    from arrivals a
    join memberships m on m.shard = a.shard and m.room_nid = a.room_nid
      and m.generation = a.generation and m.membership = 'join'
    join user_ids u on u.user_nid = m.user_nid and u.server_nid = a.server_nid
    where a.user_id is null`
