import type { Sql } from '#store/db.ts'

/** Rooms that nobody here joins any more. */

/** Blocks a room; who blocked it first is kept. */
export async function add(sql: Sql, roomId: string, by: string, now: number): Promise<void> {
  await sql`
    insert into blocked_rooms (room_id, blocked_by, blocked_at) values (${roomId}, ${by}, ${now})
    on conflict (room_id) do nothing`
}

export async function remove(sql: Sql, roomId: string): Promise<void> {
  await sql`delete from blocked_rooms where room_id = ${roomId}`
}

/** Who blocked a room; undefined if nobody did. */
export async function blockedBy(sql: Sql, roomId: string): Promise<string | undefined> {
  const [row] = await sql<{ blocked_by: string }[]>`
    select blocked_by from blocked_rooms where room_id = ${roomId}`
  return row?.blocked_by
}
