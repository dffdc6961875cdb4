import { type Pool, type Sql, booleanArray, byteaArray } from '#store/db.ts'
import { eventFlags } from '#store/room/batch.ts'
import { inStretch } from '#store/stretch.ts'

/** How far a shard is indexed, or could be. */
export type Mark = { shard: number; position: number; ingest: number }

export const cursors = (sql: Sql) =>
  sql<Mark[]>`select shard, position, ingest from event_index_cursors`

/** How far these shards are committed; all of them, unless told. */
export const marks = (sql: Sql, shards?: readonly number[]) =>
  sql<Mark[]>`
    select shard, position, ingest from room_shards
    where ${shards ? sql`shard = any(${shards as number[]}::smallint[])` : sql`true`}`

/** A stretch of one shard: after `from`, up to and including `to`. */
export type Stretch = { shard: number; from: Mark; to: Mark }

export type Candidate = {
  shard: number
  event_nid: number
  room_nid: number
  sender_nid: number
  origin_server_ts: number
  chain: number
  chain_index: number
  position: number | null
  type_nid: number
  type: string
  is_state: boolean
  version: string
  event_id: Uint8Array
  redacted: boolean
  json: string
}

const { rejected, softFailed, outlier } = eventFlags

/** What may have to be indexed of some stretches: events of these types, and what has a relation. */
export const candidates = (sql: Sql, stretches: readonly Stretch[], types: readonly string[]) =>
  sql<Candidate[]>`
    with stretch as (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from.position)}::bigint[],
        ${stretches.map((each) => each.to.position)}::bigint[],
        ${stretches.map((each) => each.from.ingest)}::bigint[],
        ${stretches.map((each) => each.to.ingest)}::bigint[]
      ) s (shard, low, high, ingest_low, ingest_high)
    ),
    fresh as (
      select e.* from stretch s
      cross join lateral ${inStretch(sql, 'events')} e
      union all
      select e.* from stretch s
      cross join lateral (
        select * from events
        where shard = s.shard and position is null
          and ingest > s.ingest_low and ingest <= s.ingest_high
        order by ingest
        limit 1000000
      ) e
    )
    ${described(sql, types)}`

/** The candidates among the events `fresh`. */
const described = (sql: Sql, types: readonly string[]) => sql`
    select e.shard, e.event_nid, e.room_nid, e.sender_nid, e.origin_server_ts, e.chain,
      e.chain_index, e.position, e.type_nid, t.type, e.state_key_nid is not null as is_state,
      r.version, e.event_id, j.json,
      exists (
        select from redactions x
        where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id
          and x.applied) as redacted
    from fresh e
    join event_types t on t.type_nid = e.type_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    join rooms r on r.shard = e.shard and r.room_nid = e.room_nid
    where e.chain is not null and e.flags & ${rejected | softFailed | outlier} = 0
      and (t.type = any(${types as string[]}::text[])
        or (e.state_key_nid is null and strpos(j.json, '"m.relates_to"') > 0))`

/** The same of some events of a shard. */
export const candidatesOf = (
  sql: Sql,
  shard: number,
  nids: readonly number[],
  types: readonly string[],
) =>
  sql<Candidate[]>`
    with fresh as (
      select * from events where shard = ${shard} and event_nid = any(${nids as number[]}::bigint[])
    )
    ${described(sql, types)}`

export type RelationRow = {
  event: Candidate
  target: Uint8Array
  relType: string
  replaces: boolean
  key: string | null
}

export type WordsRow = { event: Candidate; text: string }

/** An event that redacts another, if that counts. */
export type RedactionRow = { event: Candidate; target: Uint8Array }

export type Indexed = {
  relations: readonly RelationRow[]
  words: readonly WordsRow[]
  redactions: readonly RedactionRow[]
}

/** Another follower has moved a cursor. */
export class CursorMoved extends Error {}

/** Writes what was found in some stretches, and moves the cursors. */
export async function write(
  pool: Pool,
  stretches: readonly Stretch[],
  { relations, words, redactions }: Indexed,
): Promise<void> {
  await pool.begin(async (sql) => {
    const moved = await sql`
      update event_index_cursors c set position = s.high, ingest = s.ingest_high
      from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from.position)}::bigint[],
        ${stretches.map((each) => each.to.position)}::bigint[],
        ${stretches.map((each) => each.from.ingest)}::bigint[],
        ${stretches.map((each) => each.to.ingest)}::bigint[]
      ) s (shard, low, high, ingest_low, ingest_high)
      where c.shard = s.shard and c.position = s.low and c.ingest = s.ingest_low`
    if (moved.count !== stretches.length) throw new CursorMoved('Another has indexed these events')
    const statements: PromiseLike<unknown>[] = []
    if (relations.length > 0) statements.push(putRelations(sql, relations))
    if (words.length > 0) statements.push(putWords(sql, words))
    if (redactions.length > 0) statements.push(drop(sql, redactions))
    await Promise.all(statements)
  })
}

/** The chain of an import that was published or undone, and how far it was walked since. */
export type ChainMark = { shard: number; chain: number; after: number; dropping: boolean }

const lowest = -(2 ** 31)

/** Chains of imports that are to be indexed, or taken out of the index again. */
export const chains = (sql: Sql, limit: number) =>
  sql<ChainMark[]>`
    select c.shard, c.chain, c.hidden_at is not null as dropping,
      case when x.dropping = (c.hidden_at is not null) then x.next_index else ${lowest} end as after
    from import_chains c
    left join event_index_chains x using (shard, chain)
    where c.published_at is not null and (
      (c.hidden_at is null and (x.chain is null or not x.done))
      or (c.hidden_at is not null and x.chain is not null and not (x.dropping and x.done)))
    order by c.published_at
    limit ${limit}`

/** What is next in a chain, and how far that goes; null at the end. */
export async function nextInChain(
  sql: Sql,
  { shard, chain, after }: ChainMark,
  limit: number,
): Promise<{ nids: number[]; last: number | null }> {
  const rows = await sql<{ event_nid: number; chain_index: number }[]>`
    select event_nid, chain_index from events
    where shard = ${shard} and chain = ${chain} and chain_index > ${after}
    order by chain_index limit ${limit}`
  return { nids: rows.map((row) => row.event_nid), last: rows.at(-1)?.chain_index ?? null }
}

/**
 * Tells the planner of what is new in the index. It finds out by itself within a minute; until then it takes
 * the tables for as small as they were, and reads thousands of rows for each page of what was imported.
 */
export const analyze = (pool: Pool) => pool`analyze relations, search_words`

/** Writes what was found in a stretch of a chain, or takes it away, and notes how far that is. */
export async function writeChain(
  pool: Pool,
  mark: ChainMark,
  { nids, last }: { nids: readonly number[]; last: number | null },
  { relations, words, redactions }: Indexed,
): Promise<void> {
  const { shard, chain, dropping, after } = mark
  await pool.begin(async (sql) => {
    const statements: PromiseLike<unknown>[] = [
      sql`
        insert into event_index_chains (shard, chain, next_index, dropping, done)
        values (${shard}, ${chain}, ${last ?? after}, ${dropping}, ${last === null})
        on conflict (shard, chain) do update set next_index = excluded.next_index,
          dropping = excluded.dropping, done = excluded.done`,
    ]
    if (dropping && nids.length > 0) {
      const own = nids as number[]
      statements.push(
        sql`delete from relations where shard = ${shard} and event_nid = any(${own}::bigint[])`,
        sql`delete from search_words where shard = ${shard} and event_nid = any(${own}::bigint[])`,
      )
    }
    if (relations.length > 0) statements.push(putRelations(sql, relations))
    if (words.length > 0) statements.push(putWords(sql, words))
    if (redactions.length > 0) statements.push(drop(sql, redactions))
    await Promise.all(statements)
  })
}

const putRelations = (sql: Sql, rows: readonly RelationRow[]) =>
  sql`
    insert into relations (shard, event_nid, room_nid, sender_nid, origin_server_ts, chain,
      chain_index, position, type_nid, event_id, target_id, rel_type, replaces, key_md5)
    select shard, event_nid, room_nid, sender_nid, origin_server_ts, chain,
      chain_index, position, type_nid, event_id, target_id, rel_type, replaces, md5(key)::uuid
    from unnest(
      ${rows.map(({ event }) => event.shard)}::smallint[],
      ${rows.map(({ event }) => event.event_nid)}::bigint[],
      ${rows.map(({ event }) => event.room_nid)}::bigint[],
      ${rows.map(({ event }) => event.sender_nid)}::bigint[],
      ${rows.map(({ event }) => event.origin_server_ts)}::bigint[],
      ${rows.map(({ event }) => event.chain)}::bigint[],
      ${rows.map(({ event }) => event.chain_index)}::integer[],
      ${rows.map(({ event }) => event.position)}::bigint[],
      ${rows.map(({ event }) => event.type_nid)}::integer[],
      ${byteaArray(
        sql,
        rows.map(({ event }) => event.event_id),
      )}::bytea[],
      ${byteaArray(
        sql,
        rows.map(({ target }) => target),
      )}::bytea[],
      ${rows.map(({ relType }) => relType)}::text[],
      ${booleanArray(
        sql,
        rows.map(({ replaces }) => replaces),
      )}::boolean[],
      ${rows.map(({ key }) => key)}::text[]
    ) r (shard, event_nid, room_nid, sender_nid, origin_server_ts, chain, chain_index, position,
      type_nid, event_id, target_id, rel_type, replaces, key)
    on conflict (shard, event_nid) do nothing`

const putWords = (sql: Sql, rows: readonly WordsRow[]) =>
  sql`
    insert into search_words
      (shard, event_nid, room_nid, sender_nid, origin_server_ts, type_nid, words)
    select shard, event_nid, room_nid, sender_nid, origin_server_ts, type_nid,
      to_tsvector('simple', body) || array_to_tsvector(array['!' || room_nid])
    from unnest(
      ${rows.map(({ event }) => event.shard)}::smallint[],
      ${rows.map(({ event }) => event.event_nid)}::bigint[],
      ${rows.map(({ event }) => event.room_nid)}::bigint[],
      ${rows.map(({ event }) => event.sender_nid)}::bigint[],
      ${rows.map(({ event }) => event.origin_server_ts)}::bigint[],
      ${rows.map(({ event }) => event.type_nid)}::integer[],
      ${rows.map(({ text }) => text)}::text[]
    ) r (shard, event_nid, room_nid, sender_nid, origin_server_ts, type_nid, body)
    on conflict (shard, event_nid) do nothing`

/** Drops what was redacted, from both tables. */
const drop = (sql: Sql, rows: readonly RedactionRow[]) =>
  sql`
    with gone as materialized (
      select i.shard, i.event_nid
      from unnest(
        ${rows.map(({ event }) => event.shard)}::smallint[],
        ${rows.map(({ event }) => event.room_nid)}::bigint[],
        ${byteaArray(
          sql,
          rows.map(({ target }) => target),
        )}::bytea[],
        ${rows.map(({ event }) => event.event_nid)}::bigint[]
      ) w (shard, room_nid, target_id, redaction_nid)
      join redactions x using (shard, room_nid, target_id, redaction_nid)
      join event_ids i on i.event_id = x.target_id and i.shard = x.shard
      where x.applied
    ),
    unsearched as (
      delete from search_words w using gone g
      where w.shard = g.shard and w.event_nid = g.event_nid
    )
    delete from relations r using gone g where r.shard = g.shard and r.event_nid = g.event_nid`
