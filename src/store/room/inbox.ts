import type { Pool, Sql } from '#store/db.ts'
import { Statement, arrayText, jsonTexts } from './statement.ts'

/**
 * Inbound events between the peer's 200 and the commit that persists them. The commit of
 * the room deletes; all else is here.
 */

export type NewInboxRow = {
  shard: number
  roomId: string
  json: string
  /** Of a room that is behind: what thinning must know. */
  graph?: InboxGraph | undefined
}

export type InboxGraph = {
  eventId: string
  prevEvents: readonly string[]
  /** A state event, and not somebody's own join. */
  isState: boolean
}

/** A transaction of another server: what is taken in of it, and what it and its repetitions are told. */
export type NewTransaction = {
  origin: string
  txnId: string
  answer: string
  rows: readonly NewInboxRow[]
}

/** So many numbers are taken at once. */
const block = 64

const receiving = new Statement(
  `
  with known as materialized (
    select array_agg(i.answer order by t.place) as answers
    from unnest($origins, $txns) with ordinality as t (origin, txn_id, place)
    left join inbound_txns i on i.origin = t.origin and i.txn_id = t.txn_id
  ), blocks as materialized (
    select array_agg(nextval('inbox_inbox_id_seq')) as firsts from generate_series(1, $blocks)
  ), answered as (
    insert into inbound_txns (origin, txn_id, answer, received_at)
    select origin, txn_id, answer, $now
    from known, rows from (
      unnest($origins), unnest($txns), string_to_table($answers, E'\\x1e')
    ) with ordinality as t (origin, txn_id, answer, place)
    where answers[place] is null
    on conflict do nothing
  ), added as (
    insert into inbox (
      inbox_id, shard, room_id, origin, json, received_at, event_id, prev_events, is_state)
    select
      firsts[(place - 1) / ${block} + 1] + (place - 1) % ${block},
      ($shards)[room], ($rooms)[room], ($origins)[txn], json, $now,
      graph[2], case when graph[2] is not null then graph[3:] end, graph[1] = 's'
    from known, blocks, rows from (
      unnest($txnOf), unnest($roomOf), string_to_table($texts, E'\\x1e'),
      string_to_table($graphs, E'\\x1e')
    ) with ordinality as t (txn, room, json, graph_text, place),
    lateral (select string_to_array(graph_text, E'\\x1f') as graph) g
    where answers[txn] is null
  )
  select firsts, to_json(answers) as answers from known, blocks`,
  {
    blocks: 'integer',
    now: 'bigint',
    origins: 'text[]',
    txns: 'text[]',
    answers: 'text',
    shards: 'smallint[]',
    rooms: 'text[]',
    txnOf: 'integer[]',
    roomOf: 'integer[]',
    texts: 'text',
    graphs: 'text',
  },
)

/** What became of a transaction: the numbers of its rows, in their order, or the answer that it got before. */
export type Received = { ids: number[] } | { answer: string }

/**
 * Puts the events of transactions in and keeps their answers, for the intake; one that came before does
 * nothing. All or none: one statement, which is a transaction by itself.
 */
export async function receive(
  sql: Sql,
  transactions: readonly NewTransaction[],
  now: number,
): Promise<Received[]> {
  const rooms = new Map<string, number>()
  const shards: number[] = []
  const txnOf: number[] = []
  const roomOf: number[] = []
  const texts: string[] = []
  const graphs: string[] = []
  for (const [index, { rows }] of transactions.entries())
    for (const { shard, roomId, json, graph } of rows) {
      let room = rooms.get(roomId)
      if (room === undefined) rooms.set(roomId, (room = shards.push(shard)))
      txnOf.push(index + 1)
      roomOf.push(room)
      texts.push(json)
      graphs.push(graph ? graphText(graph) : '')
    }
  // As JSON, because the driver reads a null in an array of texts as a text.
  const [row] = await receiving.run<{ firsts: number[] | null; answers: (string | null)[] }>(sql, {
    blocks: Math.ceil(texts.length / block),
    now,
    origins: transactions.map(({ origin }) => origin),
    txns: transactions.map(({ txnId }) => txnId),
    answers: jsonTexts(transactions.map(({ answer }) => answer)),
    shards: arrayText(shards),
    rooms: [...rooms.keys()],
    txnOf: arrayText(txnOf),
    roomOf: arrayText(roomOf),
    texts: jsonTexts(texts),
    // Mostly there are none.
    graphs: graphs.every((graph) => graph === '') ? '' : jsonTexts(graphs),
  })
  const firsts = row!.firsts ?? []
  let place = 0
  return transactions.map(({ rows }, index) => {
    const ids = rows.map(() => firsts[Math.floor(place / block)]! + (place++ % block))
    const answer = row!.answers[index]
    return typeof answer === 'string' ? { answer } : { ids }
  })
}

/** Text that is taken apart by `\x1f`; nothing for IDs that such a text cannot hold, which peers may choose. */
function graphText({ eventId, prevEvents, isState }: InboxGraph): string {
  const ids = [eventId, ...prevEvents].join('\x1f')
  const isPlain =
    !ids.includes('\0') &&
    !ids.includes('\x1e') &&
    ids.split('\x1f').length === prevEvents.length + 1
  return isPlain && ids.isWellFormed() ? `${isState ? 's' : 'm'}\x1f${ids}` : ''
}

export type InboxRow = { inbox_id: number; origin: string; json: string; attempts: number }

/** What to read of a room's rows. */
export type Wanted = {
  now: number
  limit: number
  /** Of their texts, each with so much more for the row; the first one may be longer. */
  bytes: number
  rowBytes: number
  /** Rows that are not wanted: they are in memory. */
  held: readonly number[]
}

/** The first rows of a room whose time has come; whether there are more, or else when the next one's will. */
export async function list(
  sql: Sql,
  shard: number,
  roomId: string,
  { now, limit, bytes, rowBytes, held }: Wanted,
): Promise<{ rows: InboxRow[]; more: boolean; nextAt: number | null }> {
  const found = await sql<(InboxRow & { due: number })[]>`
    select inbox_id, origin, json, attempts, due
    from (
      select inbox_id, origin, json, attempts, count(*) over ()::integer as due,
        coalesce(sum(octet_length(json) + ${rowBytes}::integer) over (
          order by inbox_id rows between unbounded preceding and 1 preceding), 0) as before
      from (
        select inbox_id, origin, json, attempts from inbox
        where shard = ${shard} and room_id = ${roomId} and not_before <= ${now}
          and inbox_id <> all(${held as number[]}::bigint[])
        order by inbox_id limit ${limit}
      ) first
    ) weighed
    where before < ${bytes}::bigint order by inbox_id`
  const rows = found.map(({ due: _due, ...row }) => row)
  const due = found[0]?.due ?? 0
  if (due === limit || due > rows.length) return { rows, more: true, nextAt: null }
  const [next] = await sql<{ at: number | null }[]>`
    select min(not_before) as at from inbox
    where shard = ${shard} and room_id = ${roomId} and not_before > ${now}`
  return { rows, more: false, nextAt: next?.at ?? null }
}

/** The rooms of these shards that have rows: at a start every one of their lanes resumes. */
export async function roomsWaiting(
  sql: Sql,
  shards: readonly number[],
): Promise<{ shard: number; room_id: string; rows: number }[]> {
  return sql<{ shard: number; room_id: string; rows: number }[]>`
    select shard, room_id, count(*)::integer as rows from inbox
    where shard = any(${shards as number[]}::smallint[])
    group by shard, room_id order by min(inbox_id)`
}

/**
 * Ends the pauses of all rows of these shards, at a start: what they lack may have come, and who would have
 * woken them for it is gone. Another attempt is no further one: who starts often drops no row sooner.
 */
export async function endPauses(sql: Sql, shards: readonly number[], now: number): Promise<void> {
  await sql`
    update inbox set not_before = 0, attempts = greatest(attempts - 1, 0)
    where shard = any(${shards as number[]}::smallint[]) and not_before > ${now}::bigint`
}

/**
 * Puts rows off: each pause is twice the one before. Rows that were put off often enough are dropped;
 * which ones.
 */
export async function postpone(
  sql: Pool,
  shard: number,
  inboxIds: readonly number[],
  { now, pauseMs, attempts }: { now: number; pauseMs: number; attempts: number },
): Promise<number[]> {
  const ids = inboxIds as number[]
  return sql.begin(async (sql) => {
    const [dropped] = await Promise.all([
      sql<{ inbox_id: number }[]>`
        delete from inbox
        where shard = ${shard} and inbox_id = any(${ids}::bigint[])
          and attempts + 1 >= ${attempts}::int
        returning inbox_id`,
      sql`
        update inbox set attempts = attempts + 1,
          not_before = ${now}::bigint + ${pauseMs}::bigint * (1::bigint << least(attempts, 30))
        where shard = ${shard} and inbox_id = any(${ids}::bigint[])`,
    ])
    return dropped.map(({ inbox_id: id }) => id)
  })
}

/**
 * Has rows wait without counting that as an attempt, for half as long as they have waited: what is many
 * does not come again and again. Rows that waited too long are dropped; which ones.
 */
export async function defer(
  sql: Sql,
  shard: number,
  inboxIds: readonly number[],
  { now, pauseMs, keepMs }: { now: number; pauseMs: number; keepMs: number },
): Promise<number[]> {
  const rows = await sql<{ inbox_id: number }[]>`
    with dropped as (
      delete from inbox
      where shard = ${shard} and inbox_id = any(${inboxIds as number[]}::bigint[])
        and received_at < ${now - keepMs}::bigint
      returning inbox_id
    ), deferred as (
      update inbox
      set not_before = ${now}::bigint + greatest(${pauseMs}::bigint, (${now}::bigint - received_at) / 2)
      where shard = ${shard} and inbox_id = any(${inboxIds as number[]}::bigint[])
        and received_at >= ${now - keepMs}::bigint
    )
    select inbox_id from dropped`
  return rows.map(({ inbox_id: id }) => id)
}

/** Has rows wait until then, which is no attempt; none is dropped. */
export async function pause(
  sql: Sql,
  shard: number,
  inboxIds: readonly number[],
  notBefore: number,
): Promise<number[]> {
  await sql`
    update inbox set not_before = ${notBefore}
    where shard = ${shard} and inbox_id = any(${inboxIds as number[]}::bigint[])`
  return []
}

/** Has rows that were put off wait no longer. */
export async function wake(sql: Sql, shard: number, inboxIds: readonly number[]): Promise<void> {
  await sql`
    update inbox set not_before = 0
    where shard = ${shard} and inbox_id = any(${inboxIds as number[]}::bigint[])`
}

/** Takes rows out for good, with the error that each caused by itself. */
export async function quarantine(
  sql: Sql,
  shard: number,
  inboxIds: readonly number[],
  error: string,
  now: number,
): Promise<void> {
  await sql`
    with taken as (
      delete from inbox where shard = ${shard} and inbox_id = any(${inboxIds as number[]}::bigint[])
      returning shard, inbox_id, room_id, origin, json
    )
    insert into inbox_quarantine (
      shard, inbox_id, room_id, origin, json, error, quarantined_at)
    select shard, inbox_id, room_id, origin, json, ${error.replaceAll('\0', '')}, ${now} from taken`
}

/** Takes rows out that nobody wants: what is no event, or what a failed join has left behind. */
export async function drop(sql: Sql, shard: number, inboxIds: readonly number[]): Promise<void> {
  await sql`
    delete from inbox
    where shard = ${shard} and inbox_id = any(${inboxIds as number[]}::bigint[])`
}

export type Gauge = { shard: number; rows: number; oldest: number }

/** How many rows wait in each shard, and since when the oldest does. */
export const gauges = (sql: Sql) =>
  sql<Gauge[]>`
    select shard, count(*)::integer as rows, min(received_at) as oldest
    from inbox group by shard order by shard`

/** The rooms with the most rows. */
export const longest = (sql: Sql, limit: number) =>
  sql<{ shard: number; room_id: string; rows: number }[]>`
    select shard, room_id, count(*)::integer as rows
    from inbox group by shard, room_id order by rows desc limit ${limit}`
