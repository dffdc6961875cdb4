import type { Sql } from '#store/db.ts'
import type { HistoryChange, RoomPart } from './batch.ts'
import { byteaText } from './event-id.ts'

/** MSC2716: what ties batches of history together, written in the commit of the events themselves. */

type Of<K extends HistoryChange['kind']> = Extract<HistoryChange, { kind: K }>

const of = <K extends HistoryChange['kind']>(
  parts: readonly RoomPart[],
  kind: K,
  row: (change: Of<K>) => object,
) =>
  parts.flatMap(({ shard, roomNid: room_nid, history }) =>
    history.flatMap((change) =>
      change.kind === kind ? [{ shard, room_nid, ...row(change as Of<K>) }] : [],
    ),
  )

export const linkRows = (parts: readonly RoomPart[]) =>
  of(parts, 'link', ({ eventNid, batchId, isInsertion }) => ({
    event_nid: eventNid,
    batch_id: batchId,
    is_insertion: isInsertion,
  }))

export const insertLinks = (sql: Sql, rows: string) => sql`
  insert into history_links (shard, room_nid, event_nid, batch_id, is_insertion)
  select * from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, event_nid bigint, batch_id text, is_insertion boolean)
  on conflict do nothing`

export const answerRows = (parts: readonly RoomPart[]) =>
  of(parts, 'answer', ({ request, answer, madeAt }) => ({
    request: byteaText(request),
    answer,
    made_at: madeAt,
  }))

/** How long what a batch was answered is kept for those who ask again. */
const answersKeptMs = 86_400_000

export const insertAnswers = (sql: Sql, rows: string) => sql`
  with r as materialized (
    select * from json_to_recordset(${rows}::text::json) as t (
      shard smallint, room_nid bigint, request bytea, answer text, made_at bigint)
  ), old as (
    delete from history_answers h using r
    where h.shard = r.shard and h.room_nid = r.room_nid and h.made_at < r.made_at - ${answersKeptMs}
  )
  insert into history_answers (shard, room_nid, request, answer, made_at)
  select shard, room_nid, request, answer, made_at from r
  on conflict do nothing`

export const awaitedRows = (parts: readonly RoomPart[]) =>
  of(parts, 'await', ({ insertionId, prevId, server }) => ({
    insertion_id: byteaText(insertionId),
    prev_id: prevId && byteaText(prevId),
    server,
  }))

export const putAwaited = (sql: Sql, rows: string) => sql`
  insert into history_awaited (shard, room_nid, insertion_id, prev_id, server)
  select * from json_to_recordset(${rows}::text::json) as t (
    shard smallint, room_nid bigint, insertion_id bytea, prev_id bytea, server text)
  on conflict (shard, room_nid, insertion_id) do update set prev_id = excluded.prev_id`

export const arrivedRows = (parts: readonly RoomPart[]) =>
  of(parts, 'arrived', ({ insertionId }) => ({ insertion_id: byteaText(insertionId) }))

export const dropAwaited = (sql: Sql, rows: string) => sql`
  delete from history_awaited a
  using json_to_recordset(${rows}::text::json)
    as t (shard smallint, room_nid bigint, insertion_id bytea)
  where a.shard = t.shard and a.room_nid = t.room_nid and a.insertion_id = t.insertion_id`

export type LinkRow = { event_nid: number; batch_id: string; is_insertion: boolean }

/** All links of a room with one of these batch IDs. */
export async function linksOf(
  sql: Sql,
  shard: number,
  roomNid: number,
  batchIds: readonly string[],
): Promise<LinkRow[]> {
  if (batchIds.length === 0) return []
  return sql<LinkRow[]>`
    select event_nid, batch_id, is_insertion from history_links
    where shard = ${shard} and room_nid = ${roomNid}
      and batch_id = any(${batchIds as string[]}::text[])
    order by event_nid`
}

/** Whether history was ever put into a room. */
export async function hasLinks(sql: Sql, shard: number, roomNid: number): Promise<boolean> {
  const rows = await sql`
    select from history_links where shard = ${shard} and room_nid = ${roomNid} limit 1`
  return rows.length > 0
}

/** What a request was answered. */
export async function answerTo(
  sql: Sql,
  shard: number,
  roomNid: number,
  request: Uint8Array,
): Promise<string | undefined> {
  const [row] = await sql<{ answer: string }[]>`
    select answer from history_answers
    where shard = ${shard} and room_nid = ${roomNid} and request = ${Buffer.from(request)}`
  return row?.answer
}

export type AwaitedRow = { insertion_id: Uint8Array; server: string }

/** Insertion events that wait for one of these, or that could not be fetched. */
export async function awaitedFor(
  sql: Sql,
  shard: number,
  roomNid: number,
  prevIds: readonly Uint8Array[],
): Promise<AwaitedRow[]> {
  return sql<AwaitedRow[]>`
    select insertion_id, server from history_awaited
    where shard = ${shard} and room_nid = ${roomNid} and (prev_id is null or prev_id = any(array(
      select decode(t.hex, 'hex')
      from unnest(${prevIds.map((id) => Buffer.from(id).toString('hex'))}::text[]) t (hex))))
    limit 10`
}

/** Insertion events of rooms of some shards that could not be fetched. */
export const notFetched = (sql: Sql, shards: readonly number[], limit: number) =>
  sql<(AwaitedRow & { room_id: string; version: string })[]>`
    select a.insertion_id, a.server, r.room_id, r.version
    from history_awaited a join rooms r on r.shard = a.shard and r.room_nid = a.room_nid
    where a.shard = any(${shards as number[]}::smallint[]) and a.prev_id is null
    order by a.shard, a.room_nid, a.insertion_id
    limit ${limit}`

/** The insertion event on which a walk along batches ends: the oldest on which none hangs. */
export async function openInsertion(
  sql: Sql,
  shard: number,
  roomNid: number,
  insertionNid: number,
): Promise<number> {
  const [row] = await sql<{ event_nid: number }[]>`
    with recursive down (event_nid, level) as (
      select ${insertionNid}::bigint, 0
      union all
      select inner_insertion.event_nid, d.level + 1
      from down d
      join history_links i on i.shard = ${shard} and i.event_nid = d.event_nid and i.is_insertion
      join history_links b on b.shard = i.shard and b.room_nid = ${roomNid}
        and b.batch_id = i.batch_id and not b.is_insertion
      join events batch on batch.shard = b.shard and batch.event_nid = b.event_nid
      join lateral (
        select l.event_nid from events e
        join history_links l on l.shard = e.shard and l.event_nid = e.event_nid and l.is_insertion
        where e.shard = batch.shard and e.chain = batch.chain
          and e.chain_index < batch.chain_index
        order by e.chain_index desc limit 1
      ) inner_insertion on true
      where d.level < 10000
    )
    select event_nid from down order by level desc limit 1`
  return row!.event_nid
}

/** The depth of the first event of a chain from an index on. */
export async function depthFrom(
  sql: Sql,
  shard: number,
  chain: number,
  index: number,
): Promise<number | undefined> {
  const [row] = await sql<{ depth: number }[]>`
    select depth from events
    where shard = ${shard} and chain = ${chain} and chain_index >= ${index}
    order by chain_index limit 1`
  return row?.depth
}

/** The newest state events of a type that are part of a room's state. */
export const stateOfType = (sql: Sql, shard: number, roomNid: number, type: string) =>
  sql<{ event_id: Uint8Array; json: string }[]>`
    select e.event_id, j.json from rooms r
    join event_types t on t.type = ${type}
    join current_state c on c.shard = r.shard and c.room_nid = r.room_nid
      and c.generation = r.generation and c.type_nid = t.type_nid
    join events e on e.shard = c.shard and e.event_nid = c.event_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where r.shard = ${shard} and r.room_nid = ${roomNid}
    order by e.event_nid desc limit 20`
