import type { Sql } from '#store/db.ts'

export const add = (sql: Sql, rows: readonly { userId: string; shard: number }[]) =>
  sql`
    insert into departures (user_id, shard)
    select * from unnest(
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.shard)}::smallint[]
    )
    on conflict do nothing`

/** Some users who have rooms to leave, after the last one that was answered. */
export const next = (sql: Sql, after: string, limit: number) =>
  sql<{ user_id: string }[]>`
    select user_id from departures where user_id > ${after} order by user_id limit ${limit}`

export const remove = (sql: Sql, userId: string) =>
  sql`delete from departures where user_id = ${userId}`

/** The rooms that a user is in, asked into, or asks to be let into. */
export const roomsOf = (sql: Sql, userId: string) =>
  sql<{ room_id: string; membership: string }[]>`
    select r.room_id, m.membership
    from user_ids u
    join memberships m on m.user_nid = u.user_nid and m.membership in ('join', 'invite', 'knock')
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    where u.user_id = ${userId}
    order by r.room_id`
