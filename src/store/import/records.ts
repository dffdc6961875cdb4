import type { Sql } from '#store/db.ts'

type Key = { shard: number; session_nid: number }
type Source = { shard: number; room_nid: number; source: string }

/** A record that is there already, of this session or of one that counts. */
export type KnownRecord = {
  src_id: string
  session_nid: number
  batch: number
  /** Null: it waits for what it relates to. */
  event_nid: number | null
  event_id: Uint8Array | null
}

/** Which of these records of a source are there. */
export const known = (
  sql: Sql,
  { shard, room_nid: roomNid, source }: Source,
  srcIds: readonly string[],
) =>
  sql<KnownRecord[]>`
    select found.*
    from unnest(${srcIds as string[]}::text[]) w (src_id)
    cross join lateral ${one(sql, { shard, room_nid: roomNid, source })} found`

/** Whether any record of a source is there, of whatever session. */
export async function hasAny(
  sql: Sql,
  { shard, room_nid: roomNid, source }: Source,
): Promise<boolean> {
  const rows = await sql`
    select from import_records
    where shard = ${shard} and room_nid = ${roomNid} and source = ${source} limit 1`
  return rows.length > 0
}

/**
 * One record by its name `w.src_id`. Alone, so that it is looked up by all of its key, whatever PostgreSQL
 * thinks of tables that have only just begun to grow.
 */
const one = (sql: Sql, { shard, room_nid: roomNid, source }: Source) => sql`(
  select r.src_id, r.session_nid, r.batch, r.event_nid, (
      select event_id from events e where e.shard = ${shard} and e.event_nid = r.event_nid
    ) as event_id
  from import_records r
  where r.shard = ${shard} and r.room_nid = ${roomNid} and r.source = ${source}
    and r.src_id = w.src_id and exists (
      select from import_sessions s
      where s.shard = ${shard} and s.session_nid = r.session_nid
        and s.state in ('open', 'committed'))
  limit 1)`

export type NewRecord = { srcId: string; batch: number; eventNid: number | null }

/** What is there of a session that does not count is taken over. */
export const add = (
  sql: Sql,
  { shard, session_nid: nid, room_nid: roomNid, source }: Key & Source,
  rows: readonly NewRecord[],
) => sql`
  insert into import_records (shard, room_nid, source, src_id, session_nid, batch, event_nid)
  select ${shard}, ${roomNid}, ${source}, r.src_id, ${nid}, r.batch, nullif(r.event_nid, 0)
  from unnest(
    ${rows.map(({ srcId }) => srcId)}::text[],
    ${rows.map(({ batch }) => batch)}::integer[],
    ${rows.map(({ eventNid }) => eventNid ?? 0)}::bigint[]
  ) r (src_id, batch, event_nid)
  on conflict (shard, room_nid, source, src_id) do update set
    session_nid = excluded.session_nid, batch = excluded.batch, event_nid = excluded.event_nid`

/** Records that came to nothing: they may be sent again. */
export const drop = (
  sql: Sql,
  { shard, room_nid: roomNid, source }: Source,
  srcIds: readonly string[],
) => sql`
  delete from import_records
  where shard = ${shard} and room_nid = ${roomNid} and source = ${source}
    and src_id = any(${srcIds as string[]}::text[])`

export type WaitingRow = { chain_index: number; record: string }

export const waiting = (sql: Sql, { shard, session_nid: nid }: Key) =>
  sql<WaitingRow[]>`
    select chain_index, record from import_waiting
    where shard = ${shard} and session_nid = ${nid} order by chain_index`

export const addWaiting = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  rows: readonly WaitingRow[],
) => sql`
  insert into import_waiting (shard, session_nid, chain_index, record)
  select ${shard}, ${nid}, w.chain_index, w.record
  from json_to_recordset(${JSON.stringify(rows)}::text::json)
    as w (chain_index integer, record text)`

export const dropWaiting = (
  sql: Sql,
  { shard, session_nid: nid }: Key,
  indexes: readonly number[],
) => sql`
  delete from import_waiting
  where shard = ${shard} and session_nid = ${nid}
    and chain_index = any(${indexes as number[]}::integer[])`

/** Which events the records of a room became. */
export const events = (
  sql: Sql,
  { shard, roomNid, source }: { shard: number; roomNid: number; source: string },
  srcIds: readonly string[],
) =>
  sql<{ src_id: string; event_id: Uint8Array }[]>`
    select found.src_id, found.event_id
    from unnest(${srcIds as string[]}::text[]) w (src_id)
    cross join lateral ${one(sql, { shard, room_nid: roomNid, source })} found
    where found.event_id is not null`

/** Forgets some of what a session that counts no more has brought; whether there may be more. */
export async function forget(
  sql: Sql,
  { shard, session_nid: nid, room_nid: roomNid, source }: Key & Source,
  limit: number,
): Promise<boolean> {
  const gone = await sql`
    delete from import_records where ctid = any(array(
      select ctid from import_records
      where shard = ${shard} and room_nid = ${roomNid} and source = ${source}
        and session_nid = ${nid}
      limit ${limit}))`
  return gone.count === limit
}

/** The same of what waited. */
export const forgetWaiting = (sql: Sql, { shard, session_nid: nid }: Key) => sql`
  delete from import_waiting where shard = ${shard} and session_nid = ${nid}`
