import type { Sql } from '#store/db.ts'

export async function add(sql: Sql, roomId: string, publishedAt: number): Promise<void> {
  await sql`
    insert into published_rooms (room_id, published_at) values (${roomId}, ${publishedAt})
    on conflict (room_id) do nothing`
}

export async function remove(sql: Sql, roomId: string): Promise<void> {
  await sql`delete from published_rooms where room_id = ${roomId}`
}

export async function has(sql: Sql, roomId: string): Promise<boolean> {
  const rows = await sql`select from published_rooms where room_id = ${roomId}`
  return rows.length > 0
}

/** Which of some rooms are published. */
export async function among(sql: Sql, roomIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql<{ room_id: string }[]>`
    select room_id from published_rooms where room_id = any(${roomIds as string[]}::text[])`
  return new Set(rows.map((row) => row.room_id))
}

/** Publishes a room in the place of another, if that one was. */
export async function move(sql: Sql, from: string, to: string): Promise<void> {
  await sql`
    update published_rooms set room_id = ${to}
    where room_id = ${from} and not exists (select from published_rooms where room_id = ${to})`
}
