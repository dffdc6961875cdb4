import type { Sql } from '#store/db.ts'

/** Whether a user is in at least one of these rooms, wherever they are kept. */
export async function isJoinedToAny(
  sql: Sql,
  userId: string,
  roomIds: readonly string[],
): Promise<boolean> {
  const rows = await sql`
    select 1
    from rooms r
    join user_ids u on u.user_id = ${userId}
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.user_nid = u.user_nid
    where r.room_id = any(${roomIds as string[]}) and r.kind = 'joined' and m.membership = 'join'
    limit 1`
  return rows.length > 0
}

/** Joined members of a room that are users of one server. */
export const joinedOf = (
  sql: Sql,
  shard: number,
  roomNid: number,
  serverNid: number,
  limit: number,
) =>
  sql<{ user_id: string }[]>`
    select u.user_id
    from rooms r
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    where r.shard = ${shard} and r.room_nid = ${roomNid} and m.membership = 'join'
      and u.server_nid = ${serverNid}
    limit ${limit}`
