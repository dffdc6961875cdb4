import type { Sql } from '#store/db.ts'

export type RoomAlias = { alias: string; room_id: string; creator: string }

/** Adds an alias; false if it is taken. */
export async function add(
  sql: Sql,
  alias: string,
  roomId: string,
  creator: string,
  createdAt: number,
): Promise<boolean> {
  const { count } = await sql`
    insert into room_aliases (alias, room_id, creator, created_at)
    values (${alias}, ${roomId}, ${creator}, ${createdAt})
    on conflict (alias) do nothing`
  return count > 0
}

export async function get(sql: Sql, alias: string): Promise<RoomAlias | undefined> {
  const [row] = await sql<RoomAlias[]>`
    select alias, room_id, creator from room_aliases where alias = ${alias}`
  return row
}

export async function remove(sql: Sql, alias: string): Promise<boolean> {
  const { count } = await sql`delete from room_aliases where alias = ${alias}`
  return count > 0
}

/** The local aliases of a room. */
export async function ofRoom(sql: Sql, roomId: string): Promise<string[]> {
  const rows = await sql<{ alias: string }[]>`
    select alias from room_aliases where room_id = ${roomId} order by alias`
  return rows.map((row) => row.alias)
}

/** Removes the local aliases of a room. */
export async function removeOfRoom(sql: Sql, roomId: string): Promise<void> {
  await sql`delete from room_aliases where room_id = ${roomId}`
}

/** Lets all aliases of a room stand for another. */
export async function move(sql: Sql, from: string, to: string): Promise<void> {
  await sql`update room_aliases set room_id = ${to} where room_id = ${from}`
}
