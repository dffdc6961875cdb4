import type { Sql } from '#store/db.ts'
import { eventFlags } from './batch.ts'
import { isUnseen } from './unseen.ts'

/** What the owner of a room asks of the chains of imports, and around the places where they go. */

export type ChainState = { published_at: number | null; hidden_at: number | null }

export async function stateOf(
  sql: Sql,
  shard: number,
  chain: number,
): Promise<ChainState | undefined> {
  const [row] = await sql<ChainState[]>`
    select published_at, hidden_at from import_chains where shard = ${shard} and chain = ${chain}`
  return row
}

/** The newest of a chain from an index on: what was committed there after its session was written. */
export async function lastFrom(
  sql: Sql,
  shard: number,
  chain: number,
  index: number,
): Promise<{ event_nid: number; chain_index: number } | undefined> {
  const [row] = await sql<{ event_nid: number; chain_index: number }[]>`
    select event_nid, chain_index from events
    where shard = ${shard} and chain = ${chain} and chain_index >= ${index}
    order by chain_index desc limit 1`
  return row
}

/** The first and last index in use; none of an empty chain. */
export async function extentOf(
  sql: Sql,
  shard: number,
  chain: number,
): Promise<{ low: number; high: number } | undefined> {
  const [row] = await sql<{ low: number | null; high: number | null }[]>`
    select (select min(chain_index) from events where shard = ${shard} and chain = ${chain}) as low,
      (select max(chain_index) from events where shard = ${shard} and chain = ${chain}) as high`
  return row?.low === null || !row ? undefined : { low: row.low, high: row.high! }
}

const { rejected, softFailed } = eventFlags

/** Whether anything but state was ever said in a room. */
export async function hasMessages(sql: Sql, shard: number, roomNid: number): Promise<boolean> {
  const rows = await sql`
    select from events e
    join event_types t on t.type_nid = e.type_nid and t.type not like 'org.laneway.import.%'
    where e.shard = ${shard} and e.room_nid = ${roomNid} and e.chain is not null
      and e.state_key_nid is null and e.flags & ${rejected | softFailed} = 0
      and not ${isUnseen(sql, sql`e`)}
    limit 1`
  return rows.length > 0
}

export type PlaceRow = { event_nid: number; chain: number; chain_index: number; depth: number }

/** The first event of a room in reading order that is no state. */
export async function firstMessage(
  sql: Sql,
  shard: number,
  roomNid: number,
): Promise<PlaceRow | undefined> {
  const [row] = await sql<PlaceRow[]>`
    select found.* from spans s
    cross join lateral (
      select event_nid, chain, chain_index, depth from events e
      where e.shard = s.shard and e.chain = s.chain and e.state_key_nid is null
        and (s.from_index is null or e.chain_index >= s.from_index)
        and (s.to_index is null or e.chain_index <= s.to_index)
        and e.flags & ${rejected | softFailed} = 0
      order by e.chain_index limit 1
    ) found
    where s.shard = ${shard} and s.room_nid = ${roomNid} and not s.hidden
    order by s.order_key limit 1`
  return row
}

/** Of an event of an import: the first of its chain, where those who speak in it join. */
export async function beginningOf(sql: Sql, shard: number, place: PlaceRow): Promise<PlaceRow> {
  const [row] = await sql<PlaceRow[]>`
    select e.event_nid, e.chain, e.chain_index, e.depth
    from import_chains c join events e on e.shard = c.shard and e.chain = c.chain
    where c.shard = ${shard} and c.chain = ${place.chain}
    order by e.chain_index limit 1`
  return row ?? place
}

/** The first event after a time that is no state. */
export async function firstAfter(
  sql: Sql,
  shard: number,
  roomNid: number,
  ts: number,
): Promise<PlaceRow | undefined> {
  const [row] = await sql<PlaceRow[]>`
    select e.event_nid, e.chain, e.chain_index, e.depth
    from events e
    join spans s on s.shard = e.shard and s.room_nid = e.room_nid and s.chain = e.chain
      and not s.hidden
      and (s.from_index is null or s.from_index <= e.chain_index)
      and (s.to_index is null or s.to_index >= e.chain_index)
    where e.shard = ${shard} and e.room_nid = ${roomNid} and e.chain is not null
      and e.state_key_nid is null and e.origin_server_ts > ${ts}
      and e.flags & ${rejected | softFailed} = 0
    order by e.origin_server_ts, s.order_key, e.chain_index
    limit 1`
  return row
}

/** The event that is read next after, or before, a place. */
export async function nextTo(
  sql: Sql,
  shard: number,
  roomNid: number,
  place: { chain: number; index: number },
  side: 'after' | 'before',
): Promise<PlaceRow | undefined> {
  const order = side === 'after' ? sql`asc` : sql`desc`
  const [row] = await sql<PlaceRow[]>`
    with start as (
      select order_key from spans
      where shard = ${shard} and room_nid = ${roomNid} and chain = ${place.chain}
        and (from_index is null or from_index <= ${place.index})
        and (to_index is null or to_index >= ${place.index})
      limit 1
    )
    select found.* from spans s
    cross join lateral (
      select event_nid, chain, chain_index, depth from events e
      where e.shard = s.shard and e.chain = s.chain
        and (s.from_index is null or e.chain_index >= s.from_index)
        and (s.to_index is null or e.chain_index <= s.to_index)
        and (s.order_key <> (select order_key from start)
          or e.chain_index ${side === 'after' ? sql`>` : sql`<`} ${place.index})
      order by e.chain_index ${order} limit 1
    ) found
    where s.shard = ${shard} and s.room_nid = ${roomNid} and not s.hidden
      and s.order_key ${side === 'after' ? sql`>=` : sql`<=`} (select order_key from start)
    order by s.order_key ${order} limit 1`
  return row
}

/** Redactions in a chain, of events outside of it, that wait for its publication; or those that count. */
export const redactionsIn = (sql: Sql, shard: number, chain: number, applied: boolean) =>
  sql<{ target_id: Uint8Array; redaction_nid: number }[]>`
    select x.target_id, x.redaction_nid
    from import_chains c
    join redactions x on x.shard = c.shard and x.room_nid = c.room_nid and x.applied = ${applied}
    join events e on e.shard = x.shard and e.event_nid = x.redaction_nid and e.chain = c.chain
    where c.shard = ${shard} and c.chain = ${chain}`

/** Events of a chain that say something, after an index: to be redacted. */
export const toTakeBack = (sql: Sql, shard: number, chain: number, after: number, limit: number) =>
  sql<{ event_id: Uint8Array; chain_index: number }[]>`
    select e.event_id, e.chain_index from events e
    join event_types t on t.type_nid = e.type_nid and t.type <> 'm.room.redaction'
    where e.shard = ${shard} and e.chain = ${chain} and e.chain_index > ${after}
      and e.state_key_nid is null
    order by e.chain_index limit ${limit}`

/** Drops some of the events of a chain that was never published; whether there may be more. */
export async function dropStaged(
  sql: Sql,
  shard: number,
  chain: number,
  limit: number,
): Promise<boolean> {
  const [row] = await sql<{ dropped: number }[]>`
    with own as materialized (
      select event_nid, event_id, room_nid from events e
      where e.shard = ${shard} and e.chain = ${chain}
        and exists (select from import_chains c
          where c.shard = e.shard and c.chain = e.chain and c.published_at is null)
      limit ${limit}
    ),
    ids as (
      delete from event_ids i using own
      where i.event_id = own.event_id and i.shard = ${shard} and i.event_nid = own.event_nid
    ),
    texts as (
      delete from event_json j using own where j.shard = ${shard} and j.event_nid = own.event_nid
    ),
    -- Their numbers in the graph stay: those are dense, and lead to nothing now.
    pending as (
      delete from auth_pending p using own
      where p.shard = ${shard} and p.room_nid = own.room_nid and p.event_nid = own.event_nid
    ),
    undone as (
      delete from redactions x using own
      where x.shard = ${shard} and x.room_nid = own.room_nid and x.redaction_nid = own.event_nid
    ),
    gone as (
      delete from events e using own where e.shard = ${shard} and e.event_nid = own.event_nid
    )
    select count(*)::int as dropped from own`
  return row!.dropped === limit
}

/** Drops the states of a chain that has no events any more, all of which build on its first. */
export const dropStates = (sql: Sql, shard: number, chain: number, base: number) => sql`
  with recursive later as materialized (
    select s.snapshot_nid, s.base_nid from import_chains c
    join snapshots s on s.shard = c.shard and s.room_nid = c.room_nid and s.snapshot_nid >= ${base}
    where c.shard = ${shard} and c.chain = ${chain} and c.published_at is null
      and not exists (select from events e where e.shard = c.shard and e.chain = c.chain)
  ),
  own as (
    select snapshot_nid from later where snapshot_nid = ${base}
    union
    select l.snapshot_nid from own join later l on l.base_nid = own.snapshot_nid
  )
  delete from snapshots s using own where s.shard = ${shard} and s.snapshot_nid = own.snapshot_nid`
