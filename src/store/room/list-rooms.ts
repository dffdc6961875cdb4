import type { Sql } from '#store/db.ts'
import { isUnseen } from './unseen.ts'

/** Rooms as administrators list them: those that users of this server are or were in. */

export const roomOrders = [
  'name',
  'canonical_alias',
  'joined_members',
  'joined_local_members',
  'version',
  'creator',
  'encryption',
  'federatable',
  'public',
  'join_rules',
  'guest_access',
  'history_visibility',
  'state_events',
] as const
export type RoomOrder = (typeof roomOrders)[number]

export type RoomFilter = {
  /** Part of the name or of the main alias, or the whole ID. */
  term?: string | undefined
  published?: boolean | undefined
  empty?: boolean | undefined
}

export type ListedRoom = {
  shard: number
  room_nid: number
  room_id: string
  version: string
  members: number
  local_members: number
  state_events: number
  published: boolean
}

type Fragment = ReturnType<typeof textIn>

/** The event that is the current state of a type, with an empty key, as JSON text. */
const stateOf = (sql: Sql, type: string) => sql`
  (select j.json from current_state c
    join event_json j on j.shard = c.shard and j.event_nid = c.event_nid
    where c.shard = r.shard and c.room_nid = r.room_nid and c.generation = r.generation
      and c.type_nid = (select type_nid from event_types where type = ${type})
      and c.state_key_nid = (
        select k.state_key_nid from state_keys k join event_types t on t.type_nid = k.type_nid
        where t.type = ${type} and k.state_key = ''))`

/**
 * A text in it, as it is written there. It is found, not parsed: what others send may be JSON that the
 * database refuses, and lists only sort and search by it.
 */
const textIn = (sql: Sql, type: string, key: string) =>
  sql`substring(${stateOf(sql, type)} from ${`"${key}":"((?:[^"\\\\]|\\\\.)*)"`})`

const localMembers = (sql: Sql, serverName: string) => sql`
  coalesce((select s.joined from room_servers s join servers v using (server_nid)
    where s.shard = r.shard and s.room_nid = r.room_nid and s.generation = r.generation
      and v.name = ${serverName}), 0)`

const stateEvents = (sql: Sql) => sql`
  (select count(*)::int from current_state c
    where c.shard = r.shard and c.room_nid = r.room_nid and c.generation = r.generation)`

const isPublished = (sql: Sql) =>
  sql`exists (select from published_rooms p where p.room_id = r.room_id)`

function keyOf(sql: Sql, serverName: string, order: RoomOrder): Fragment {
  switch (order) {
    case 'name':
      return sql`lower(${textIn(sql, 'm.room.name', 'name')})`
    case 'canonical_alias':
      return sql`lower(${textIn(sql, 'm.room.canonical_alias', 'alias')})`
    case 'joined_members':
      return sql`r.joined_members`
    case 'joined_local_members':
      return localMembers(sql, serverName)
    case 'version':
      return sql`r.version`
    case 'creator':
      return textIn(sql, 'm.room.create', 'sender')
    case 'encryption':
      return textIn(sql, 'm.room.encryption', 'algorithm')
    case 'federatable':
      return sql`(${stateOf(sql, 'm.room.create')} not like '%"m.federate":false%')`
    case 'public':
      return isPublished(sql)
    case 'join_rules':
      return textIn(sql, 'm.room.join_rules', 'join_rule')
    case 'guest_access':
      return textIn(sql, 'm.room.guest_access', 'guest_access')
    case 'history_visibility':
      return textIn(sql, 'm.room.history_visibility', 'history_visibility')
    case 'state_events':
      return stateEvents(sql)
  }
}

const pattern = (text: string) => `%${text.replace(/[\\%_]/g, '\\$&')}%`

const fitting = (sql: Sql, { term, published, empty }: RoomFilter) => sql`
  r.kind = 'joined'
  ${published === undefined ? sql`` : sql`and ${isPublished(sql)} = ${published}`}
  ${empty === undefined ? sql`` : sql`and (r.joined_members = 0) = ${empty}`}
  ${
    term === undefined
      ? sql``
      : sql`and (r.room_id = ${term}
          or ${textIn(sql, 'm.room.name', 'name')} ilike ${pattern(term)}
          or ${textIn(sql, 'm.room.canonical_alias', 'alias')} ilike ${pattern(term)})`
  }`

/** A page of rooms. */
export const page = (
  sql: Sql,
  serverName: string,
  filter: RoomFilter,
  wanted: { order: RoomOrder; backwards: boolean; from: number; limit: number },
) => sql<ListedRoom[]>`
  select r.shard, r.room_nid, r.room_id, r.version, r.joined_members as members,
    ${localMembers(sql, serverName)} as local_members, ${stateEvents(sql)} as state_events,
    ${isPublished(sql)} as published
  from (
    select r.*, ${keyOf(sql, serverName, wanted.order)} as sort_key
    from rooms r
    where ${fitting(sql, filter)}
    order by sort_key ${wanted.backwards ? sql`desc` : sql`asc`} nulls last, r.room_id
    limit ${wanted.limit} offset ${wanted.from}
  ) r
  order by r.sort_key ${wanted.backwards ? sql`desc` : sql`asc`} nulls last, r.room_id`

export async function count(sql: Sql, filter: RoomFilter): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count from rooms r where ${fitting(sql, filter)}`
  return row!.count
}

/** One room as lists show it. */
export async function one(
  sql: Sql,
  serverName: string,
  roomId: string,
): Promise<ListedRoom | undefined> {
  const [row] = await sql<ListedRoom[]>`
    select r.shard, r.room_nid, r.room_id, r.version, r.joined_members as members,
      ${localMembers(sql, serverName)} as local_members, ${stateEvents(sql)} as state_events,
      ${isPublished(sql)} as published
    from rooms r where r.room_id = ${roomId} and r.kind = 'joined'`
  return row
}

/** Devices of the users of this server who are joined to a room. */
export async function localDevices(sql: Sql, shard: number, roomNid: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::int as count
    from rooms r
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.membership = 'join'
    join user_ids u on u.user_nid = m.user_nid
    join devices d on d.user_id = u.user_id
    where r.shard = ${shard} and r.room_nid = ${roomNid}`
  return row!.count
}

/** Users of this server who are joined to a room, invited, or knocking. */
export const localMembersOf = (sql: Sql, serverName: string, roomId: string) =>
  sql<{ user_id: string; membership: string }[]>`
    select u.user_id, m.membership
    from rooms r
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.membership in ('join', 'invite', 'knock')
    join user_ids u on u.user_nid = m.user_nid
    join servers v on v.server_nid = u.server_nid and v.name = ${serverName}
    where r.room_id = ${roomId}
    order by m.position`

/** What a user is to every room that is known here. */
export const membershipsOf = (sql: Sql, userId: string) =>
  sql<
    {
      shard: number
      room_nid: number
      room_id: string
      version: string
      membership: string
      event_nid: number
    }[]
  >`
    select r.shard, r.room_nid, r.room_id, r.version, m.membership, m.event_nid
    from user_ids u
    join memberships m on m.user_nid = u.user_nid
    join rooms r on r.shard = m.shard and r.room_nid = m.room_nid and r.generation = m.generation
    where u.user_id = ${userId} and m.event_nid is not null
    order by r.room_id`

/** The events that nothing of a room follows yet. */
export const extremities = (sql: Sql, shard: number, roomNid: number) =>
  sql<{ event_nid: number; event_id: Uint8Array; depth: number; origin_server_ts: number }[]>`
    select e.event_nid, e.event_id, e.depth, e.origin_server_ts
    from extremities x
    join events e on e.shard = x.shard and e.event_nid = x.event_nid
    where x.shard = ${shard} and x.room_nid = ${roomNid}
    order by e.depth desc, e.event_nid`

/** The create events of rooms. */
export const createEvents = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<{ shard: number; event_nid: number }[]>`
    select c.shard, c.event_nid
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    join current_state c on c.shard = r.shard and c.room_nid = r.room_nid
      and c.generation = r.generation
      and c.type_nid = (select type_nid from event_types where type = 'm.room.create')`

/** The room of an event that may be seen. */
export const roomOfEvent = (sql: Sql, eventId: Uint8Array) =>
  sql<{ shard: number; room_nid: number; room_id: string; version: string }[]>`
    select r.shard, r.room_nid, r.room_id, r.version
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    join rooms r on r.shard = e.shard and r.room_nid = e.room_nid
    where i.event_id = ${Buffer.from(eventId)} and not ${isUnseen(sql, sql`e`)}`

/** Rooms that are known here, of these. */
export const byIds = (sql: Sql, roomIds: readonly string[]) =>
  sql<Omit<ListedRoom, 'local_members' | 'state_events' | 'published'>[]>`
    select r.shard, r.room_nid, r.room_id, r.version, r.joined_members as members
    from rooms r where r.room_id = any(${roomIds as string[]}::text[])`

/** The numbers of events that are known here and may be seen, of these. */
export const nidsOf = (sql: Sql, eventIds: readonly Uint8Array[]) =>
  sql<{ event_nid: number }[]>`
    select i.event_nid
    from unnest(${eventIds.map((id) => Buffer.from(id).toString('hex'))}::text[]) w (hex)
    join event_ids i on i.event_id = decode(w.hex, 'hex') and i.event_nid <> 0
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    where not ${isUnseen(sql, sql`e`)}`
