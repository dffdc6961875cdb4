import type { Sql } from '#store/db.ts'
import type { Network } from './network-rooms.ts'

/** The place of a room in the directory: the largest come first, equals by ID. */
export type DirectoryPlace = { members: number; roomId: string }

export type DirectoryRow = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  members: number
}

/** Whose rooms are listed: this server's own, unless told; those of one network, or of all and ours. */
export type Directory = Network | 'all' | undefined

const publishedIn = (sql: Sql, directory: Directory) => {
  if (directory === undefined) return sql`published_rooms`
  if (directory === 'all')
    return sql`(select room_id from published_rooms union select room_id from network_rooms)`
  const { appserviceId, networkId } = directory
  return sql`(
    select room_id from network_rooms
    where appservice_id = ${appserviceId} and network_id = ${networkId}
  )`
}

/** Published rooms that have members, next to a place in the directory: after it, or going back. */
export const page = (
  sql: Sql,
  directory: Directory,
  from: DirectoryPlace | undefined,
  back: boolean,
  limit: number,
) => sql<DirectoryRow[]>`
  select r.shard, r.room_nid, r.room_id, r.version, r.joined_members as members
  from ${publishedIn(sql, directory)} p
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
export async function count(sql: Sql, directory: Directory): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*) as count
    from ${publishedIn(sql, directory)} p
    join rooms r on r.room_id = p.room_id
    where r.kind = 'joined' and r.joined_members > 0`
  return row!.count
}
