import type { Pool, Sql } from '#store/db.ts'

/**
 * Inbound events between the peer's 200 and the commit that persists them. The commit of
 * the room deletes; all else is here.
 */

export type NewInboxRow = { shard: number; roomId: string; json: string }

/** Puts PDUs of one origin in, for the intake; the numbers of their rows, in the same order. */
export async function add(
  sql: Sql,
  origin: string,
  receivedAt: number,
  rows: readonly NewInboxRow[],
): Promise<number[]> {
  if (rows.length === 0) return []
  const inserted = await sql<{ inbox_id: number }[]>`
    insert into inbox (shard, room_id, origin, json, received_at)
    select shard, room_id, ${origin}, json, ${receivedAt}
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.roomId)}::text[],
      ${rows.map((row) => row.json)}::text[]
    ) with ordinality as t (shard, room_id, json, place)
    order by place
    returning inbox_id`
  return inserted.map((row) => row.inbox_id)
}

export type InboxRow = { inbox_id: number; origin: string; json: string; attempts: number }

/** The first rows of a room whose time has come, and when the next one's will. */
export async function list(
  sql: Sql,
  shard: number,
  roomId: string,
  now: number,
  limit: number,
): Promise<{ rows: InboxRow[]; nextAt: number | null }> {
  const [rows, [next]] = await Promise.all([
    sql<InboxRow[]>`
      select inbox_id, origin, json, attempts from inbox
      where shard = ${shard} and room_id = ${roomId} and not_before <= ${now}
      order by inbox_id limit ${limit}`,
    sql<{ at: number | null }[]>`
      select min(not_before) as at from inbox
      where shard = ${shard} and room_id = ${roomId} and not_before > ${now}`,
  ])
  return { rows: [...rows], nextAt: next?.at ?? null }
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
 * Puts rows off: each pause is twice the one before. Rows that were put off often enough are dropped;
 * how many were.
 */
export async function postpone(
  sql: Pool,
  shard: number,
  inboxIds: readonly number[],
  { now, pauseMs, attempts }: { now: number; pauseMs: number; attempts: number },
): Promise<number> {
  const ids = inboxIds as number[]
  return sql.begin(async (sql) => {
    const [dropped] = await Promise.all([
      sql`
        delete from inbox
        where shard = ${shard} and inbox_id = any(${ids}::bigint[])
          and attempts + 1 >= ${attempts}::int`,
      sql`
        update inbox set attempts = attempts + 1,
          not_before = ${now}::bigint + ${pauseMs}::bigint * (1::bigint << least(attempts, 30))
        where shard = ${shard} and inbox_id = any(${ids}::bigint[])`,
    ])
    return dropped.count
  })
}

/** Has rows wait without counting that against them: it is not they that lack something. */
export async function defer(
  sql: Sql,
  shard: number,
  inboxIds: readonly number[],
  until: number,
): Promise<void> {
  await sql`
    update inbox set not_before = ${until}
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
