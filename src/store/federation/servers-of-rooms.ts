import type { Sql } from '#store/db.ts'

/** The servers with users joined to some rooms, of each room those with most of them. */
export const serversOfRooms = (
  sql: Sql,
  rooms: readonly { shard: number; roomNid: number }[],
  max: number,
) =>
  sql<{ room_nid: number; name: string }[]>`
    select wanted.room_nid, found.name
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.roomNid)}::bigint[]
    ) as wanted (shard, room_nid)
    cross join lateral (
      select v.name
      from rooms r
      join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
        and s.generation = r.generation and s.joined > 0
      join servers v using (server_nid)
      where r.shard = wanted.shard and r.room_nid = wanted.room_nid and r.kind = 'joined'
      order by s.joined desc
      limit ${max}
    ) found`
