import type { Pool, Sql } from '#store/db.ts'
import { byteaText } from './event-id.ts'
import { pack, type Pairs, unpack } from './packed-state.ts'

/**
 * Forgets the states before old events of a room. Snapshots that nothing builds on go; one that a single
 * other builds on goes into that one. Those on which several build stay: there are fewer of them than
 * of these, and to copy them into each would take more room, not less.
 */

/** Which states go: those before events of a lesser depth that have been cited by others. */
export type Purge = { shard: number; roomNid: number; depth: number }

/** How far a purge has come; a purge that was broken off may begin anew. */
export type PurgeStep =
  | { phase: 'release'; after: number }
  /** From the newest to the oldest: what builds on a snapshot is younger than it. */
  | { phase: 'drop'; below: number }
  | { phase: 'join'; after: number }

export const firstStep: PurgeStep = { phase: 'release', after: 0 }

/**
 * Takes one step, over at most `limit` rows; gives the next, null at the end. Only the owner of the room calls
 * it, while nothing of the room is decided and not committed; after a step it forgets the snapshots of
 * the room that it has in memory, since their rows may be others now.
 */
export function purge(
  pool: Pool,
  what: Purge,
  step: PurgeStep,
  limit: number,
): Promise<PurgeStep | null> {
  return pool.begin(async (sql) => {
    switch (step.phase) {
      case 'release': {
        const after = await release(sql, what, step.after, limit)
        return after === null
          ? { phase: 'drop', below: Number.MAX_SAFE_INTEGER }
          : { phase: 'release', after }
      }
      case 'drop': {
        const below = await drop(sql, what, step.below, limit)
        return below === null ? { phase: 'join', after: 0 } : { phase: 'drop', below }
      }
      case 'join': {
        const after = await joinSingle(sql, what, step.after, limit)
        return after === null ? null : { phase: 'join', after }
      }
    }
  })
}

/** Events let go of the states before them. Reads the shard's events in their order, some at a time. */
async function release(
  sql: Sql,
  { shard, roomNid, depth }: Purge,
  after: number,
  limit: number,
): Promise<number | null> {
  const [row] = await sql<{ last: number | null; rows: number }[]>`
    with page as materialized (
      select event_nid, room_nid, depth, snapshot_nid from events
      where shard = ${shard} and event_nid > ${after}
      order by event_nid limit ${limit}
    ), old as materialized (
      select event_nid, snapshot_nid from page p
      where room_nid = ${roomNid} and depth < ${depth} and snapshot_nid is not null
        and not exists (
          select from extremities x
          where x.shard = ${shard} and x.room_nid = ${roomNid} and x.event_nid = p.event_nid)
    ), released as (
      update events e set snapshot_nid = null
      from old where e.shard = ${shard} and e.event_nid = old.event_nid
    ), counted as (
      update snapshots s set refs = s.refs - o.count
      from (select snapshot_nid, count(*)::int as count from old group by snapshot_nid) o
      where s.shard = ${shard} and s.snapshot_nid = o.snapshot_nid
    )
    select max(event_nid) as last, count(*)::int as rows from page`
  return row!.rows < limit ? null : row!.last
}

type Counted = { snapshot_nid: number; base_nid: number | null; refs: number }

/** Snapshots without a reference go, and with them their references to others. */
async function drop(
  sql: Sql,
  { shard, roomNid }: Purge,
  below: number,
  limit: number,
): Promise<number | null> {
  const page = await sql<Counted[]>`
    select snapshot_nid, base_nid, refs from snapshots
    where shard = ${shard} and room_nid = ${roomNid} and snapshot_nid < ${below}
    order by snapshot_nid desc limit ${limit} for update`
  const gone: number[] = []
  const freed = new Map<number, number>()
  for (const { snapshot_nid: nid, base_nid: base, refs } of page) {
    if (refs > (freed.get(nid) ?? 0)) continue
    freed.delete(nid)
    gone.push(nid)
    if (base !== null) freed.set(base, (freed.get(base) ?? 0) + 1)
  }
  if (gone.length > 0)
    await Promise.all([
      sql`delete from snapshots where shard = ${shard} and snapshot_nid = any(${gone}::bigint[])`,
      sql`
        update snapshots s set refs = s.refs - t.count
        from unnest(${[...freed.keys()]}::bigint[], ${[...freed.values()]}::int[]) t (nid, count)
        where s.shard = ${shard} and s.snapshot_nid = t.nid`,
    ])
  return page.length < limit ? null : page.at(-1)!.snapshot_nid
}

type Row = Counted & { height: number; packed: Uint8Array }

/** Takes into snapshots those below that nothing else builds on. */
async function joinSingle(
  sql: Sql,
  { shard, roomNid }: Purge,
  after: number,
  limit: number,
): Promise<number | null> {
  const page = await sql<{ snapshot_nid: number }[]>`
    select snapshot_nid from snapshots
    where shard = ${shard} and room_nid = ${roomNid} and snapshot_nid > ${after}
    order by snapshot_nid limit ${limit}`
  // Those on which one of the page builds, and nothing else; down to the first that stays.
  const rows = await sql<(Row & { top: number })[]>`
    with recursive line as (
      select s.snapshot_nid as top, s.* from snapshots s
      where s.shard = ${shard}
        and s.snapshot_nid = any(${page.map((row) => row.snapshot_nid)}::bigint[])
      union all
      select l.top, s.* from line l
      join snapshots s on s.shard = l.shard and s.snapshot_nid = l.base_nid
      where s.refs = 1
    )
    select top, snapshot_nid, base_nid, refs, height, packed from line
    order by top, snapshot_nid desc`
  const gone = new Set<number>()
  // The youngest first: what it takes in is then in no other line.
  const lines = [...Map.groupBy(rows, (row) => row.top).values()].reverse()
  const joined = lines.flatMap((line) => {
    if (line.length === 1 || gone.has(line[0]!.snapshot_nid)) return []
    for (const { snapshot_nid: nid } of line.slice(1)) gone.add(nid)
    return joinLine(line)
  })
  if (joined.length > 0)
    await Promise.all([
      sql`
        delete from snapshots
        where shard = ${shard} and snapshot_nid = any(${[...gone]}::bigint[])`,
      sql`
        update snapshots s set base_nid = t.base_nid, height = t.height, packed = t.packed
        from json_to_recordset(${JSON.stringify(joined)}::text::json)
          as t (snapshot_nid bigint, base_nid bigint, height integer, packed bytea)
        where s.shard = ${shard} and s.snapshot_nid = t.snapshot_nid`,
    ])
  return page.length < limit ? null : page.at(-1)!.snapshot_nid
}

/** One row instead of a line of them, newest first: a difference to what the last one builds on. */
function joinLine(line: readonly Row[]) {
  const { snapshot_nid, height } = line[0]!
  const { base_nid } = line.at(-1)!
  const merged = new Map<number, number>()
  for (const { packed } of line.toReversed()) {
    const { keys, events } = unpack(packed)
    for (let at = 0; at < keys.length; at++) merged.set(keys[at]!, events[at]!)
  }
  // In a whole state what went away is not there.
  if (base_nid === null) for (const [key, event] of merged) if (event === 0) merged.delete(key)
  const keys = Float64Array.from(merged.keys()).sort()
  const pairs: Pairs = { keys, events: keys.map((key) => merged.get(key)!) }
  return {
    snapshot_nid,
    base_nid,
    height: base_nid === null ? 0 : height,
    packed: byteaText(pack(pairs)),
  }
}
