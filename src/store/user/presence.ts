import type { Sql } from '#store/db.ts'

export type PresenceRow = {
  user_id: string
  presence: string
  status_msg: string | null
  active_at: number
}

/** Who was not offline when it was last noted, who was active last first. */
export const present = (sql: Sql, limit: number) =>
  sql<PresenceRow[]>`
    select user_id, presence, status_msg, active_at from presence
    where presence <> 'offline'
    order by active_at desc
    limit ${limit}`

export const list = (sql: Sql, userIds: readonly string[]) =>
  sql<PresenceRow[]>`
    select user_id, presence, status_msg, active_at from presence
    where user_id = any(${userIds as string[]}::text[])`

export const put = (sql: Sql, rows: readonly PresenceRow[]) =>
  sql`
    insert into presence (user_id, presence, status_msg, active_at)
    select * from unnest(
      ${rows.map((row) => row.user_id)}::text[],
      ${rows.map((row) => row.presence)}::text[],
      ${rows.map((row) => row.status_msg)}::text[],
      ${rows.map((row) => row.active_at)}::bigint[]
    )
    on conflict (user_id) do update set
      presence = excluded.presence,
      status_msg = excluded.status_msg,
      active_at = excluded.active_at`

export const remove = (sql: Sql, userIds: readonly string[]) =>
  sql`delete from presence where user_id = any(${userIds as string[]}::text[])`

/** The rooms of this server that some users are joined to. */
export const roomsOf = (sql: Sql, userIds: readonly string[]) =>
  sql<{ user_id: string; room_nid: number }[]>`
    select u.user_id, m.room_nid
    from user_ids u
    join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid
      and r.generation = m.generation and r.kind = 'joined'
    where u.user_id = any(${userIds as string[]}::text[])`

/** Whether two users are in one room. */
export async function shareRoom(sql: Sql, one: string, other: string): Promise<boolean> {
  const rows = await sql`
    select from user_ids a
    join memberships m on m.user_nid = a.user_nid and m.membership = 'join'
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid
      and r.generation = m.generation and r.kind = 'joined'
    join user_ids b on b.user_id = ${other}
    join memberships n on n.shard = r.shard and n.room_nid = r.room_nid
      and n.generation = r.generation and n.user_nid = b.user_nid and n.membership = 'join'
    where a.user_id = ${one}
    limit 1`
  return rows.length > 0
}
