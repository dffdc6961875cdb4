import type { Sql } from '#store/db.ts'

/** What other servers are served of rooms: reading only. */

/** Whether a server has a user joined to a room. */
export async function isInRoom(
  sql: Sql,
  shard: number,
  roomNid: number,
  server: string,
): Promise<boolean> {
  const rows = await sql`
    select from rooms r
    join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation and s.joined > 0
    join servers v on v.server_nid = s.server_nid and v.name = ${server}
    where r.shard = ${shard} and r.room_nid = ${roomNid}`
  return rows.length > 0
}

/** The servers with users joined to a room, those with most of them first. */
export async function serversIn(
  sql: Sql,
  shard: number,
  roomNid: number,
  max: number,
): Promise<string[]> {
  const rows = await sql<{ name: string }[]>`
    select v.name from rooms r
    join room_servers s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation and s.joined > 0
    join servers v using (server_nid)
    where r.shard = ${shard} and r.room_nid = ${roomNid}
    order by s.joined desc, v.name
    limit ${max}`
  return rows.map(({ name }) => name)
}

export type ServedRow = {
  event_nid: number
  room_nid: number
  event_id: Uint8Array
  depth: number
  flags: number
  snapshot_nid: number | null
  state_key_nid: number | null
  /** A redaction of it counts. */
  redacted: boolean
  json: string
}

const served = (sql: Sql) => sql`
  e.event_nid, e.room_nid, e.event_id, e.depth, e.flags, e.snapshot_nid, e.state_key_nid, j.json,
  exists (
    select from redactions x
    where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id and x.applied
  ) as redacted`

/** One event, of whatever room. */
export async function byId(
  sql: Sql,
  eventId: Uint8Array,
): Promise<(ServedRow & { shard: number; room_id: string }) | undefined> {
  const [row] = await sql<(ServedRow & { shard: number; room_id: string })[]>`
    select ${served(sql)}, e.shard, r.room_id
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    join rooms r on r.shard = e.shard and r.room_nid = e.room_nid
    where i.event_id = ${Buffer.from(eventId)} and not ${isKept(sql, sql`e`)}`
  return row
}

/** Of an import that is not to be seen. Memberships of one that was undone stay part of the state. */
const isKept = (sql: Sql, e: ReturnType<Sql>) => sql`
  exists (
    select from import_chains c where c.shard = ${e}.shard and c.chain = ${e}.chain
      and (c.published_at is null or (c.hidden_at is not null and ${e}.state_key_nid is null)))`

/** The numbers of events of one room by their IDs; those that are unknown are left out. */
export async function nidsOf(
  sql: Sql,
  shard: number,
  roomNid: number,
  eventIds: readonly Uint8Array[],
): Promise<number[]> {
  const hex = eventIds.map((eventId) => Buffer.from(eventId).toString('hex'))
  const rows = await sql<{ event_nid: number }[]>`
    select e.event_nid
    from unnest(${hex}::text[]) w (hex)
    join event_ids i on i.event_id = decode(w.hex, 'hex')
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    where e.shard = ${shard} and e.room_nid = ${roomNid} and not ${isKept(sql, sql`e`)}`
  return rows.map((row) => row.event_nid)
}

/** Events of one shard by number, in no order. */
export const byNids = (sql: Sql, shard: number, nids: readonly number[]) =>
  sql<ServedRow[]>`
    select ${served(sql)}
    from events e join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where e.shard = ${shard} and e.event_nid = any(${nids as number[]}::bigint[])`

/** Of some state events those that are no memberships, and the memberships of these users. */
export async function withoutMembers(
  sql: Sql,
  shard: number,
  nids: readonly number[],
  but: readonly string[],
): Promise<number[]> {
  const rows = await sql<{ event_nid: number }[]>`
    select e.event_nid
    from events e
    join event_types t on t.type_nid = e.type_nid
    join state_keys k on k.state_key_nid = e.state_key_nid
    where e.shard = ${shard} and e.event_nid = any(${nids as number[]}::bigint[])
      and (t.type <> 'm.room.member' or k.state_key = any(${but as string[]}::text[]))`
  return rows.map((row) => row.event_nid)
}

/** The IDs of events of one shard. */
export const idsByNids = (sql: Sql, shard: number, nids: readonly number[]) =>
  sql<{ event_nid: number; event_id: Uint8Array }[]>`
    select event_nid, event_id from events
    where shard = ${shard} and event_nid = any(${nids as number[]}::bigint[])`

/**
 * Walks a room's graph breadth first from some events towards its beginning: these events and their
 * ancestors, level by level, up to a number. It stops at the events of `stop`, and at those that are
 * rejected or above `minDepth`. Of what was imported it goes no further than the end: who asks for what is
 * missing would show it as new.
 */
export async function walkBack(
  sql: Sql,
  shard: number,
  start: readonly number[],
  { stop, minDepth, limit }: { stop: readonly number[]; minDepth: number; limit: number },
): Promise<number[]> {
  const [row] = await sql<{ seen: number[] }[]>`
    with recursive step as (
      select ${start as number[]}::bigint[] as frontier, ${start as number[]}::bigint[] as seen,
        1 as level
      union all
      select next.frontier, s.seen || next.frontier, s.level + 1
      from step s
      cross join lateral (
        select array_agg(distinct p.event_nid) as frontier
        from events e
        cross join lateral unnest(e.prev_nids) prev (nid)
        join events p on p.shard = ${shard} and p.event_nid = prev.nid
        where e.shard = ${shard} and e.event_nid = any(s.frontier)
          and e.type_nid is distinct from
            (select type_nid from event_types where type = 'org.laneway.import.boundary')
          and p.event_nid <> all(s.seen) and p.event_nid <> all(${stop as number[]}::bigint[])
          and ${isWalked(sql, minDepth)}
      ) next
      where next.frontier is not null and cardinality(s.seen) < ${limit}
    )
    select seen from step order by level desc limit 1`
  return row?.seen ?? []
}

/**
 * The same, always the deepest next, so that of several branches each comes when its depth has come: other
 * servers read what is equally deep in the order in which they got it. Of events of one depth, what was
 * imported comes after the event before which it is read. With `history` (MSC2716) a batch comes before the
 * insertion event on which it hangs.
 */
export async function walkDown(
  sql: Sql,
  shard: number,
  start: readonly number[],
  { minDepth, limit, history }: { minDepth: number; limit: number; history: boolean },
): Promise<number[]> {
  const [row] = await sql<{ taken: number[] }[]>`
    with recursive step as (
      select ${start as number[]}::bigint[] as frontier, ${start as number[]}::bigint[] as seen,
        '{}'::bigint[] as taken, 1 as level
      union all
      select array(select nid from unnest(s.frontier) f (nid) where nid <> all(top.nids))
          || found.nids,
        s.seen || found.nids, s.taken || top.nids, s.level + 1
      from step s
      cross join lateral (
        select array_agg(event_nid order by event_nid desc) as nids
        from (
          select e.event_nid, rank() over (order by e.depth desc, i.order_key desc nulls first)
          from events e
          left join lateral (
            select r.order_key from import_chains c
            join spans r on r.shard = c.shard and r.chain = c.chain
              and (r.from_index is null or r.from_index <= e.chain_index)
              and (r.to_index is null or r.to_index >= e.chain_index)
            where c.shard = e.shard and c.chain = e.chain
            limit 1
          ) i on true
          where e.shard = ${shard} and e.event_nid = any(s.frontier)
        ) f
        where rank = 1
      ) top
      cross join lateral (
        select coalesce(array_agg(distinct p.event_nid), '{}') as nids
        from (
          select prev.nid from events e
          cross join lateral unnest(e.prev_nids) prev (nid)
          where e.shard = ${shard} and e.event_nid = any(top.nids)
          ${history ? hanging(sql, shard) : sql``}
        ) prev
        join events p on p.shard = ${shard} and p.event_nid = prev.nid
        where p.event_nid <> all(s.seen) and ${isWalked(sql, minDepth)}
      ) found
      where top.nids is not null and cardinality(s.taken) < ${limit}
    )
    select taken from step order by level desc limit 1`
  return row?.taken ?? []
}

const isWalked = (sql: Sql, minDepth: number) => sql`
  p.depth >= ${minDepth} and p.flags & 5 = 0 and not ${isKept(sql, sql`p`)}`

/** The batches that hang on insertion events. */
const hanging = (sql: Sql, shard: number) => sql`
  union all
  select b.event_nid from history_links i
  join history_links b on b.shard = i.shard and b.room_nid = i.room_nid
    and b.batch_id = i.batch_id and not b.is_insertion
  where i.shard = ${shard} and i.event_nid = any(top.nids) and i.is_insertion`

/**
 * The depth above which a walk from some events finds the history that was put in behind what they follow;
 * null in a room into which none was put.
 */
export async function historyDepth(
  sql: Sql,
  shard: number,
  roomNid: number,
  start: readonly number[],
): Promise<number | null> {
  const [row] = await sql<{ depth: number | null }[]>`
    select min(least(e.depth, p.depth + 1)) as depth
    from events e
    left join lateral unnest(e.prev_nids) prev (nid) on true
    left join events p on p.shard = e.shard and p.event_nid = prev.nid
    where e.shard = ${shard} and e.event_nid = any(${start as number[]}::bigint[])
      and exists (select from history_links where shard = ${shard} and room_nid = ${roomNid})`
  return row?.depth ?? null
}

/** The auth chains of some events, without the events themselves unless another cites them. */
export async function authChain(
  sql: Sql,
  shard: number,
  nids: readonly number[],
): Promise<number[]> {
  const rows = await sql<{ event_nid: number }[]>`
    with recursive chain (event_nid) as (
      select a from events e cross join unnest(e.auth_nids) a
      where e.shard = ${shard} and e.event_nid = any(${nids as number[]}::bigint[])
      union
      select a from chain c
      join events e on e.shard = ${shard} and e.event_nid = c.event_nid
      cross join unnest(e.auth_nids) a
    )
    select event_nid from chain`
  return rows.map((row) => row.event_nid)
}

/** The state keys of the memberships of a server's users in a room. */
export async function memberKeys(
  sql: Sql,
  shard: number,
  roomNid: number,
  server: string,
): Promise<number[]> {
  const rows = await sql<{ state_key_nid: number }[]>`
    select distinct k.state_key_nid
    from memberships m
    join user_ids u on u.user_nid = m.user_nid
    join servers v on v.server_nid = u.server_nid and v.name = ${server}
    join event_types t on t.type = 'm.room.member'
    join state_keys k on k.type_nid = t.type_nid and k.state_key = u.user_id
    where m.shard = ${shard} and m.room_nid = ${roomNid}`
  return rows.map((row) => row.state_key_nid)
}

/** The key of the history visibility in the state of rooms. */
export async function visibilityKey(sql: Sql): Promise<number | undefined> {
  const [row] = await sql<{ state_key_nid: number }[]>`
    select k.state_key_nid from event_types t
    join state_keys k on k.type_nid = t.type_nid and k.state_key = ''
    where t.type = 'm.room.history_visibility'`
  return row?.state_key_nid
}
