import type { Pool, Sql } from '#store/db.ts'

/**
 * Joins through another server that are under way. The row is there before send_join goes out, so that
 * a restart sends the same join again; the commit of the room takes it away (`RoomPart.joinsDone`).
 */
export type PendingJoin = {
  shard: number
  room_id: string
  user_id: string
  version: string
  /** The signed join, JSON text. */
  event: string
  via: string[]
  created_at: number
}

export async function put(sql: Sql, join: PendingJoin): Promise<void> {
  await sql`
    insert into pending_joins (shard, room_id, user_id, version, event, via, created_at)
    values (${join.shard}, ${join.room_id}, ${join.user_id}, ${join.version}, ${join.event},
      ${join.via}, ${join.created_at})
    on conflict (shard, room_id, user_id) do update set
      version = excluded.version, event = excluded.event, via = excluded.via,
      created_at = excluded.created_at`
}

export const list = (sql: Sql, shards: readonly number[]) =>
  sql<PendingJoin[]>`
    select shard, room_id, user_id, version, event, via, created_at from pending_joins
    where shard = any(${shards as number[]}::smallint[]) order by created_at`

/**
 * A join that failed for good: its row goes, and what waited in the inbox for it, unless the room is
 * known otherwise or another user's join is still under way.
 */
export async function fail(
  pool: Pool,
  shard: number,
  roomId: string,
  userId: string,
): Promise<void> {
  await pool.begin((sql) =>
    Promise.all([
      sql`
        delete from pending_joins
        where shard = ${shard} and room_id = ${roomId} and user_id = ${userId}`,
      sql`
        delete from inbox where shard = ${shard} and room_id = ${roomId}
          and not exists (select from rooms where room_id = ${roomId})
          and not exists (
            select from pending_joins where shard = ${shard} and room_id = ${roomId})`,
    ]),
  )
}
