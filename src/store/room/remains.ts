import type { Pool, Sql } from '#store/db.ts'
import type { Lease } from './batch.ts'

/**
 * Taking rooms away. First goes the row by which everybody finds the room, at once; what is left then
 * concerns nobody, and goes in steps. Only the owner of the room does this.
 */

/** Tables of rooms that are gone through by room; `events` and what hangs on it by number are apart. */
export const roomTables = [
  'spans',
  'import_chains',
  'missing_prevs',
  'extremities',
  'current_state',
  'state_deltas',
  'snapshots',
  'auth_graph',
  'auth_pending',
  'memberships',
  'room_servers',
  'redactions',
  'mentions',
  'history_links',
  'history_answers',
  'history_awaited',
  'import_records',
  'import_sessions',
] as const

/** Tables whose rows hang on a session of an import. */
const sessionTables = ['import_batches', 'import_waiting', 'import_people'] as const

/** Removes a room of which nothing is decided and not committed; fails if the shard is another's. */
export const remove = (pool: Pool, lease: Lease, roomNid: number): Promise<void> =>
  pool.begin(async (sql) => {
    const held = await sql`
      select from room_shard_leases where shard = ${lease.shard} and epoch = ${lease.epoch} for share`
    if (held.length === 0) throw new Error(`shard ${lease.shard} is another’s`)
    await sql`
      with gone as (
        delete from rooms where shard = ${lease.shard} and room_nid = ${roomNid}
        returning shard, room_nid, room_id
      )
      insert into room_remains (shard, room_nid, room_id) select * from gone`
  })

/** Under which numbers rows of a removed room are left. */
export async function of(sql: Sql, shard: number, roomId: string): Promise<number[]> {
  const rows = await sql<{ room_nid: number }[]>`
    select room_nid from room_remains where shard = ${shard} and room_id = ${roomId}
    order by room_nid`
  return rows.map((row) => row.room_nid)
}

/**
 * Drops the events of a removed room among the next `limit` events of its shard, after one; the last of
 * these, null at the end.
 */
export async function dropEvents(
  sql: Sql,
  { shard, roomNid }: { shard: number; roomNid: number },
  after: number,
  limit: number,
): Promise<number | null> {
  const [row] = await sql<{ last: number | null; rows: number }[]>`
    with page as materialized (
      select event_nid, room_nid, event_id from events
      where shard = ${shard} and event_nid > ${after} order by event_nid limit ${limit}
    ),
    own as materialized (
      select p.event_nid, p.event_id from page p
      join room_remains r on r.shard = ${shard} and r.room_nid = p.room_nid
      where p.room_nid = ${roomNid}
    ),
    ids as (
      delete from event_ids i using own
      where i.event_id = own.event_id and i.shard = ${shard} and i.event_nid = own.event_nid
    ),
    texts as (
      delete from event_json j using own where j.shard = ${shard} and j.event_nid = own.event_nid
    ),
    reasons as (
      delete from rejections x using own where x.shard = ${shard} and x.event_nid = own.event_nid
    ),
    gone as (
      delete from events e using own where e.shard = ${shard} and e.event_nid = own.event_nid
    )
    select max(event_nid) as last, count(*)::int as rows from page`
  return row!.rows < limit ? null : row!.last
}

/** Drops at most so many rows of each other table; in the end the note that there are some. True once there are none. */
export async function dropRest(
  sql: Sql,
  { shard, roomNid }: { shard: number; roomNid: number },
  limit: number,
): Promise<boolean> {
  const ofSessions = await Promise.all(
    sessionTables.map(
      (table) => sql`
        delete from ${sql(table)} where ctid = any(array(
          select t.ctid from ${sql(table)} t
          join import_sessions i on i.shard = t.shard and i.session_nid = t.session_nid
          join room_remains r on r.shard = i.shard and r.room_nid = i.room_nid
          where i.shard = ${shard} and i.room_nid = ${roomNid} limit ${limit}))`,
    ),
  )
  // The sessions lead to them, so these go first.
  if (ofSessions.some(({ count }) => count === limit)) return false
  const dropped = await Promise.all(
    roomTables.map(
      (table) => sql`
        delete from ${sql(table)} where ctid = any(array(
          select t.ctid from ${sql(table)} t
          join room_remains r on r.shard = t.shard and r.room_nid = t.room_nid
          where t.shard = ${shard} and t.room_nid = ${roomNid} limit ${limit}))`,
    ),
  )
  if (dropped.some(({ count }) => count === limit)) return false
  await sql`delete from room_remains where shard = ${shard} and room_nid = ${roomNid}`
  return true
}
