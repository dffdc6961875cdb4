import type { Sql } from '#store/db.ts'

/** Of these rooms those that a server of ours is in now, and whether a user is in each. */
export const joinedIn = (
  sql: Sql,
  userId: string,
  roomIds: readonly string[],
  serverName: string,
) =>
  sql<{ room_id: string; joined: boolean }[]>`
    select r.room_id, exists (
      select from user_ids u
      join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
        and m.generation = r.generation and m.user_nid = u.user_nid
      where u.user_id = ${userId} and m.membership = 'join'
    ) as joined
    from rooms r
    join servers v on v.name = ${serverName}
    join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation and s.server_nid = v.server_nid and s.joined > 0
    where r.room_id = any(${roomIds as string[]}) and r.kind = 'joined'`

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

/** Which of these users are joined to a room. */
export const joinedAmong = (sql: Sql, shard: number, roomNid: number, userIds: readonly string[]) =>
  sql<{ user_id: string }[]>`
    select u.user_id
    from rooms r
    join user_ids u on u.user_id = any(${userIds as string[]})
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.user_nid = u.user_nid
    where r.shard = ${shard} and r.room_nid = ${roomNid} and m.membership = 'join'`

/** Which of some users are joined to a room, by number. */
export const joinedNids = (
  sql: Sql,
  room: { shard: number; nid: number; generation: number },
  userIds: readonly string[],
) =>
  sql<{ user_nid: number }[]>`
    select m.user_nid
    from user_ids u
    join memberships m on m.shard = ${room.shard} and m.room_nid = ${room.nid}
      and m.generation = ${room.generation} and m.user_nid = u.user_nid
    where u.user_id = any(${userIds as string[]}) and m.membership = 'join'`

/** The events that keep users out of a room. */
export const bannedFrom = (sql: Sql, shard: number, roomNid: number, limit: number) =>
  sql<{ event_nid: number }[]>`
    select m.event_nid
    from rooms r
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation
    where r.shard = ${shard} and r.room_nid = ${roomNid} and m.membership = 'ban'
      and m.event_nid is not null
    order by m.position
    limit ${limit}`
