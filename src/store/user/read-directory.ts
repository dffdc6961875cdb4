import type { Sql } from '#store/db.ts'

/** The place of a room in the directory: the largest come first, equals by ID. */
export type DirectoryPlace = { members: number; roomId: string }

export type DirectoryRow = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  members: number
}

/** Published rooms that have members, next to a place in the directory: after it, or going back. */
export const page = (
  sql: Sql,
  from: DirectoryPlace | undefined,
  back: boolean,
  limit: number,
) => sql<DirectoryRow[]>`
  select r.shard, r.room_nid, r.room_id, r.version, r.joined_members as members
  from published_rooms p
  join rooms r on r.room_id = p.room_id
  where r.kind = 'joined' and r.joined_members > 0
    ${
      from === undefined
        ? sql``
        : back
          ? sql`and (-r.joined_members, r.room_id) < (${-from.members}::integer, ${from.roomId} collate "C")`
          : sql`and (-r.joined_members, r.room_id) > (${-from.members}::integer, ${from.roomId} collate "C")`
    }
  order by ${back ? sql`r.joined_members, r.room_id desc` : sql`r.joined_members desc, r.room_id`}
  limit ${limit}`

/** How many rooms the directory has. */
export async function count(sql: Sql): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*) as count
    from published_rooms p
    join rooms r on r.room_id = p.room_id
    where r.kind = 'joined' and r.joined_members > 0`
  return row!.count
}
