import type { Sql } from '#store/db.ts'

export type KnownRoomRow = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  members: number
}

/** Rooms that users of this server are in now, of these. */
export const followed = (sql: Sql, roomIds: readonly string[], serverName: string) =>
  sql<KnownRoomRow[]>`
    select r.shard, r.room_nid, r.room_id, r.version, r.joined_members as members
    from rooms r
    join servers v on v.name = ${serverName}
    join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation and s.server_nid = v.server_nid and s.joined > 0
    where r.room_id = any(${roomIds as string[]}::text[]) and r.kind = 'joined'`

/** What a user is to rooms, whether we are in them or not. */
export const membershipsIn = (sql: Sql, userId: string, roomIds: readonly string[]) =>
  sql<{ room_id: string; membership: string }[]>`
    select r.room_id, m.membership
    from rooms r
    join user_ids u on u.user_id = ${userId}
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.user_nid = u.user_nid
    where r.room_id = any(${roomIds as string[]}::text[]) and m.event_nid is not null`

/** Of these rooms those in which another server has a user who is joined. */
export const withServer = (sql: Sql, server: string, roomIds: readonly string[]) =>
  sql<{ room_id: string }[]>`
    select r.room_id
    from rooms r
    join servers v on v.name = ${server}
    join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation and s.server_nid = v.server_nid and s.joined > 0
    where r.room_id = any(${roomIds as string[]}::text[])`

/** Of these rooms those into which a user of another server is invited. */
export const withInvited = (sql: Sql, server: string, roomIds: readonly string[]) =>
  sql<{ room_id: string }[]>`
    select r.room_id
    from rooms r
    where r.room_id = any(${roomIds as string[]}::text[]) and exists (
      select from memberships m
      join user_ids u on u.user_nid = m.user_nid
      join servers v on v.server_nid = u.server_nid and v.name = ${server}
      where m.shard = r.shard and m.room_nid = r.room_nid and m.generation = r.generation
        and m.membership = 'invite')`

/** The events by which rooms name their children, as last committed. */
export const children = (
  sql: Sql,
  shards: readonly number[],
  nids: readonly number[],
  max: number,
) =>
  sql<{ shard: number; room_nid: number; event_nid: number }[]>`
    select r.shard, r.room_nid, found.event_nid
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    cross join lateral (
      select c.event_nid
      from current_state c
      where c.shard = r.shard and c.room_nid = r.room_nid and c.generation = r.generation
        and c.type_nid = (select type_nid from event_types where type = 'm.space.child')
      limit ${max}
    ) found`
