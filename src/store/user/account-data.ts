import type { Sql } from '#store/db.ts'

export type Entry = {
  shard: number
  userId: string
  /** '' for global data. */
  roomId: string
  type: string
  content: string
  position: number
}

/** Replaces entries, each named once. */
export const put = (sql: Sql, rows: readonly Entry[]) =>
  sql`
    insert into account_data (shard, user_id, room_id, type, content, position)
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.roomId)}::text[],
      ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.content)}::text[],
      ${rows.map((row) => row.position)}::bigint[]
    )
    on conflict (shard, user_id, room_id, type) do update
      set content = excluded.content, position = excluded.position`

/** The content of one entry, as JSON text. */
export async function get(
  sql: Sql,
  shard: number,
  userId: string,
  roomId: string,
  type: string,
): Promise<string | undefined> {
  const [row] = await sql<{ content: string }[]>`
    select content from account_data
    where shard = ${shard} and user_id = ${userId} and room_id = ${roomId} and type = ${type}`
  return row?.content
}

/** One global entry of several users, as JSON text. */
export const listOfType = (
  sql: Sql,
  shards: readonly number[],
  userIds: readonly string[],
  type: string,
) =>
  sql<{ user_id: string; content: string }[]>`
    select user_id, content from account_data
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[]) and room_id = '' and type = ${type}`

/** Entries of one type in rooms, each of a user and a room, as JSON text. */
export const listInRooms = (sql: Sql, rows: readonly Omit<Entry, 'content' | 'position'>[]) =>
  sql<{ user_id: string; room_id: string; content: string }[]>`
    select a.user_id, a.room_id, a.content
    from (
      select distinct * from unnest(
        ${rows.map((row) => row.shard)}::smallint[],
        ${rows.map((row) => row.userId)}::text[],
        ${rows.map((row) => row.roomId)}::text[],
        ${rows.map((row) => row.type)}::text[]
      ) as t (shard, user_id, room_id, type)
    ) w
    join account_data a using (shard, user_id, room_id, type)`

/** One global entry: its place, and its content where that is another place than the one known. */
export const newer = (
  sql: Sql,
  { shard, userId, type }: { shard: number; userId: string; type: string },
  known: number,
) =>
  sql<{ position: number; content: string | null }[]>`
    select position, case when position <> ${known} then content end as content
    from account_data
    where shard = ${shard} and user_id = ${userId} and room_id = '' and type = ${type}`

/** Drops all that these users kept. */
export const removeAll = (sql: Sql, userIds: readonly string[], shards: readonly number[]) =>
  sql`
    delete from account_data
    where shard = any(${shards as number[]}::smallint[])
      and user_id = any(${userIds as string[]}::text[])`

/** All that a user keeps, as JSON texts; '' is the room of global data. */
export const all = (sql: Sql, shard: number, userId: string) =>
  sql<{ room_id: string; type: string; content: string }[]>`
    select room_id, type, content from account_data
    where shard = ${shard} and user_id = ${userId}
    order by room_id, type`

/** What a user keeps of one room, as JSON texts. */
export const ofRoom = (sql: Sql, shard: number, userId: string, roomId: string) =>
  sql<{ type: string; content: string }[]>`
    select type, content from account_data
    where shard = ${shard} and user_id = ${userId} and room_id = ${roomId}
    order by type`
