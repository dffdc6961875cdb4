import type { PendingQuery, Row } from 'postgres'
import type { Sql } from '#store/db.ts'
import { inStretch } from '#store/stretch.ts'

type Fragment = PendingQuery<Row[]>

/** A stretch of one shard's stream: after `from`, up to and including `to`. */
export type Stretch = { shard: number; from: number; to: number }

/** How far the outbox has followed each shard. */
export const cursors = (sql: Sql) =>
  sql<{ shard: number; position: number }[]>`select shard, position from outbox_cursors`

/** The last committed position of every room shard. */
export const positions = (sql: Sql) =>
  sql<{ shard: number; position: number }[]>`select shard, position from room_shards`

/**
 * Takes in what happened in these stretches, and moves the cursors, in one statement. Answers the
 * servers for which there is something new.
 *
 * An event has a set of destinations if it is for us to send it. Whoever was invited from a server
 * that is not in the room learns from us that the invite was taken back.
 */
export async function follow(
  sql: Sql,
  serverName: string,
  stretches: readonly Stretch[],
): Promise<string[]> {
  const rows = await sql<{ server: string }[]>`
    with recursive stretch as materialized (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from)}::bigint[],
        ${stretches.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    ),
    moved as (
      update outbox_cursors c set position = s.high from stretch s
      where c.shard = s.shard and c.position = s.low
      returning c.shard
    ),
    fresh as materialized (
      select e.shard, e.room_nid, e.position, e.event_nid, e.destination_set, invited.server
      from stretch s
      join moved using (shard)
      cross join lateral ${inStretch(sql, 'events')} e
      left join lateral (
        select v.name as server
        from state_deltas d
        join state_keys k on k.state_key_nid = d.state_key_nid
        join user_ids u on u.user_id = k.state_key
        join servers v on v.server_nid = u.server_nid and v.name <> ${serverName}
        where d.shard = e.shard and d.room_nid = e.room_nid and d.position = e.position
          and d.new_event_nid = e.event_nid
          and d.old_membership in ('invite', 'knock') and d.new_membership in ('leave', 'ban')
      ) invited on e.state_key_nid is not null
      where e.destination_set is not null and e.flags & 3 = 0
    ),
    lines as (
      insert into outbox_events (shard, room_nid, position, event_nid, set_nid, extra)
      select shard, room_nid, position, event_nid, destination_set,
        case when server is not null then array[server] end
      from fresh
    ),
    member as materialized (
      ${membersOf(sql, sql`select distinct destination_set from fresh`)}
    ),
    wanted as (
      select v.name as server, f.shard, f.room_nid, f.position
      from fresh f
      join member m on m.set_nid = f.destination_set
      join servers v on v.server_nid = m.server_nid
      where v.name <> ${serverName}
      union all
      select server, shard, room_nid, position from fresh where server is not null
    ),
    rooms as (
      insert into outbox_rooms as r (server, shard, room_nid, first_position, last_position)
      select server, shard, room_nid, min(position), max(position)
      from wanted
      group by server, shard, room_nid
      order by server, shard, room_nid
      on conflict (server, shard, room_nid) do update
        set last_position = greatest(r.last_position, excluded.last_position)
      returning server
    )
    select distinct server from rooms`
  return rows.map(({ server }) => server)
}

/** Every server for which something waits. */
export async function pendingServers(sql: Sql): Promise<string[]> {
  // Each of the tables may hold many rows of few servers: a step per server, not per row.
  const rows = await sql<{ server: string }[]>`
    with recursive in_rooms as (
      (select server from outbox_rooms order by server limit 1)
      union all
      select (select r.server from outbox_rooms r where r.server > s.server
              order by r.server limit 1)
      from in_rooms s where s.server is not null
    ),
    in_edus as (
      (select server from outbox_edus order by server limit 1)
      union all
      select (select e.server from outbox_edus e where e.server > s.server
              order by e.server limit 1)
      from in_edus s where s.server is not null
    )
    select server from in_rooms where server is not null
    union select server from in_edus where server is not null
    union select server from outbox_txns`
  return rows.map(({ server }) => server)
}

/**
 * The members of some sets of servers. A set may be written as what it adds to another, and removes
 * from it: the entry nearest to the set itself decides.
 */
const membersOf = (sql: Sql, sets: Fragment) => sql`
  select set_nid, server_nid from (
    with recursive layer as (
      select set_nid as root, base_nid, 0 as below, servers from server_sets
      where set_nid in (${sets})
      union all
      select l.root, s.base_nid, l.below + 1, s.servers
      from layer l join server_sets s on s.set_nid = l.base_nid
    )
    select distinct on (root, abs(n)) root as set_nid, abs(n) as server_nid, n > 0 as is_member
    from layer cross join unnest(servers) n
    order by root, abs(n), below
  ) entry
  where is_member`

/** The servers in some sets, as numbers. */
export async function setMembers(
  sql: Sql,
  setNids: readonly number[],
): Promise<Map<number, number[]>> {
  const wanted = sql`select unnest(${setNids as number[]}::bigint[])`
  const rows = await sql<{ set_nid: number; servers: number[] }[]>`
    select set_nid, array_agg(server_nid) as servers
    from (${membersOf(sql, wanted)}) member
    group by set_nid`
  return new Map(rows.map((row) => [row.set_nid, row.servers]))
}

/** The number of a server. */
export async function serverNid(sql: Sql, server: string): Promise<number | undefined> {
  const [row] = await sql<{ server_nid: number }[]>`
    select server_nid from servers where name = ${server}`
  return row?.server_nid
}

export type PendingRoom = {
  shard: number
  room_nid: number
  last_position: number
  /** The event at the last position. It is always for the server. */
  last_nid: number | null
  /** Lines of the stretch in their order, at most as many as asked for; not all are for the server. */
  positions: number[]
  event_nids: number[]
  set_nids: number[]
  /** Whether the line names the server beside the set. */
  named: boolean[]
}

/** Rooms with events for a server, from a place in their order on. */
export const pendingRooms = (
  sql: Sql,
  server: string,
  after: { shard: number; roomNid: number },
  maxRooms: number,
  maxEvents: number,
) =>
  sql<PendingRoom[]>`
    select r.shard, r.room_nid, r.last_position, last.event_nid as last_nid,
      coalesce(l.positions, '{}') as positions, coalesce(l.event_nids, '{}') as event_nids,
      coalesce(l.set_nids, '{}') as set_nids, coalesce(l.named, '{}') as named
    from (
      select * from outbox_rooms
      where server = ${server} and (shard, room_nid) > (${after.shard}, ${after.roomNid})
      order by shard, room_nid
      limit ${maxRooms}
    ) r
    left join lateral (
      select array_agg(position order by position) as positions,
        array_agg(event_nid order by position) as event_nids,
        array_agg(set_nid order by position) as set_nids,
        array_agg(${server} = any(coalesce(extra, '{}')) order by position) as named
      from (
        select position, event_nid, set_nid, extra from outbox_events e
        where e.shard = r.shard and e.room_nid = r.room_nid
          and e.position between r.first_position and r.last_position
        order by position
        limit ${maxEvents}
      ) line
    ) l on true
    left join outbox_events last on last.shard = r.shard and last.room_nid = r.room_nid
      and last.position = r.last_position
    order by r.shard, r.room_nid`

/**
 * The federation form of events, in the order asked for; those that are gone are left out. With each
 * that was redacted, the version of its room.
 */
export const eventJsons = (sql: Sql, shards: readonly number[], eventNids: readonly number[]) =>
  sql<{ json: string; redacted_in: string | null }[]>`
    select j.json, (
      select r.version from redactions x
      join rooms r on r.shard = x.shard and r.room_nid = x.room_nid
      where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id and x.applied
      limit 1
    ) as redacted_in
    from unnest(${shards as number[]}::smallint[], ${eventNids as number[]}::bigint[])
      with ordinality as w (shard, event_nid, place)
    join events e on e.shard = w.shard and e.event_nid = w.event_nid
    join event_json j on j.shard = w.shard and j.event_nid = w.event_nid
    order by w.place`

/**
 * Forgets the lines that no server waits for, and leaves of long stretches for servers that have
 * failed for long only the last event.
 */
export async function sweep(sql: Sql, failingBefore: number, givenUpBefore: number): Promise<void> {
  await sql`
    update outbox_rooms r set first_position = r.last_position
    from destinations d
    where d.server = r.server and d.failing_since < ${failingBefore}
      and r.first_position < r.last_position`
  await sql`
    delete from outbox_edus e using destinations d
    where d.server = e.server and d.failing_since < ${givenUpBefore}`
  await sql`
    delete from outbox_events e
    where not exists (
      select 1 from outbox_rooms r
      where r.shard = e.shard and r.room_nid = e.room_nid and r.first_position <= e.position
    )`
}
