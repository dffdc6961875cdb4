import { type Pool, type Sql, booleanArray } from '#store/db.ts'

/** An event that interests an application service. */
export type Entry = { appserviceNid: number; shard: number; eventNid: number }

/** Queues events, in the order in which they are given. */
export const put = (sql: Sql, entries: readonly Entry[], now: number) =>
  sql`
    insert into appservice_queue (appservice_nid, queued_at, shard, event_nid)
    select appservice_nid, ${now}::bigint, shard, event_nid
    from unnest(
      ${entries.map((entry) => entry.appserviceNid)}::integer[],
      ${entries.map((entry) => entry.shard)}::smallint[],
      ${entries.map((entry) => entry.eventNid)}::bigint[]
    ) with ordinality n (appservice_nid, shard, event_nid, place)
    order by place`

export type Queued = {
  queue_no: number
  shard: number
  event_nid: number
  /** Null where the event is gone. */
  room_nid: number | null
  room_id: string | null
  version: string | null
  /** Characters of the event, as it is stored. */
  size: number
}

/** The oldest that waits for one, with the rooms of the events. */
export const oldest = (sql: Sql, appserviceNid: number, limit: number) =>
  sql<Queued[]>`
    select q.queue_no, q.shard, q.event_nid, r.room_nid, r.room_id, r.version,
      coalesce(length(j.json), 0) as size
    from (
      select queue_no, shard, event_nid from appservice_queue
      where appservice_nid = ${appserviceNid}
      order by queue_no
      limit ${limit}
    ) q
    left join events e on e.shard = q.shard and e.event_nid = q.event_nid
    left join rooms r on r.shard = e.shard and r.room_nid = e.room_nid
    left join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    order by q.queue_no`

/** How many events wait, by application service. */
export const counts = (sql: Sql) =>
  sql<{ appservice_nid: number; events: number }[]>`
    select appservice_nid, count(*) as events from appservice_queue group by appservice_nid`

/** Drops the oldest of one; answers how many there were. */
export async function dropOldest(sql: Sql, appserviceNid: number, limit: number): Promise<number> {
  const { count } = await sql`
    delete from appservice_queue q
    using (
      select queue_no from appservice_queue where appservice_nid = ${appserviceNid}
      order by queue_no
      limit ${limit}
    ) o
    where q.appservice_nid = ${appserviceNid} and q.queue_no = o.queue_no`
  return count
}

/** Drops some of the oldest of all, registered or not, that were queued before a time. */
export const dropOlder = (sql: Sql, before: number, limit: number) =>
  sql<{ appservice_nid: number; events: number }[]>`
    with old as (
      select a.appservice_nid, o.queue_no from appservices a
      cross join lateral (
        select queue_no, queued_at from appservice_queue q
        where q.appservice_nid = a.appservice_nid
        order by queue_no
        limit ${limit}
      ) o
      where o.queued_at < ${before}
    ),
    dropped as (
      delete from appservice_queue q using old o
      where q.appservice_nid = o.appservice_nid and q.queue_no = o.queue_no
      returning q.appservice_nid
    )
    select appservice_nid, count(*) as events from dropped group by appservice_nid`

/** Drops what is noted for those who are not among these: they are not told any more. */
export const dropStray = (pool: Pool, nids: readonly number[]) =>
  pool.begin((sql) =>
    Promise.all([
      sql`delete from appservice_receipts where appservice_nid <> all(${nids as number[]}::integer[])`,
      sql`delete from appservice_lists where appservice_nid <> all(${nids as number[]}::integer[])`,
    ]),
  )

/** A transaction as it is sent. */
export type Txn = { txn_id: string; body: string; events: number; made_at: number }

/** The one in flight. */
export async function inFlight(sql: Sql, appserviceNid: number): Promise<Txn | undefined> {
  const [row] = await sql<Txn[]>`
    select txn_id, body, events, made_at from appservice_txns
    where appservice_nid = ${appserviceNid}`
  return row
}

/** What a transaction brings, which leaves the queues in its commit. */
export type Brought = {
  /** Up to here, of its events. */
  queueNo: number | undefined
  receipts: readonly ReceiptRow[]
  lists: readonly ListRow[]
}

/**
 * Makes a transaction durable, with what `alsoTake` removes elsewhere. Its ID is given out here. Fails if
 * another is in flight.
 */
export const begin = (
  pool: Pool,
  appserviceNid: number,
  { body, events, madeAt }: { body: string; events: number; madeAt: number },
  brought: Brought,
  alsoTake: (sql: Sql) => PromiseLike<unknown>,
): Promise<string> =>
  pool.begin(async (sql) => {
    const [given] = await sql<{ txn_id: string }[]>`
      update appservices set next_txn = next_txn + 1 where appservice_nid = ${appserviceNid}
      returning created_at || '-' || (next_txn - 1) as txn_id`
    const txnId = given!.txn_id
    await Promise.all([
      sql`
        insert into appservice_txns (appservice_nid, txn_id, body, events, made_at)
        values (${appserviceNid}, ${txnId}, ${body}, ${events}, ${madeAt})`,
      brought.queueNo !== undefined &&
        sql`
          delete from appservice_queue
          where appservice_nid = ${appserviceNid} and queue_no <= ${brought.queueNo}`,
      brought.receipts.length > 0 && dropReceipts(sql, appserviceNid, brought.receipts),
      brought.lists.length > 0 && dropLists(sql, appserviceNid, brought.lists),
      alsoTake(sql),
    ])
    return txnId
  })

/** It was taken. */
export const finish = (sql: Sql, appserviceNid: number, txnId: string) =>
  sql`
    delete from appservice_txns
    where appservice_nid = ${appserviceNid} and txn_id = ${txnId}`

export type ReceiptRow = {
  /** Of the user. */
  shard: number
  room_id: string
  user_id: string
  type: string
  thread_id: string
  mark: number
}

export type NewReceipt = ReceiptRow & { appserviceNid: number }

export const putReceipts = (sql: Sql, rows: readonly NewReceipt[]) =>
  sql`
    insert into appservice_receipts (appservice_nid, shard, room_id, user_id, type, thread_id, mark)
    select * from unnest(
      ${rows.map((row) => row.appserviceNid)}::integer[],
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.room_id)}::text[],
      ${rows.map((row) => row.user_id)}::text[],
      ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.thread_id)}::text[],
      ${rows.map((row) => row.mark)}::bigint[]
    )
    on conflict (appservice_nid, room_id, user_id, type, thread_id) do update
      set mark = excluded.mark`

/** Null where there is none any more. */
export type ReceiptNews = ReceiptRow & { event_id: string | null; ts: number | null }

/** Some of the receipts that one is to be told, as they are by now. */
export const receipts = (sql: Sql, appserviceNid: number, limit: number) =>
  sql<ReceiptNews[]>`
    select q.shard, q.room_id, q.user_id, q.type, q.thread_id, q.mark, c.event_id, c.ts
    from (
      select * from appservice_receipts where appservice_nid = ${appserviceNid} limit ${limit}
    ) q
    left join receipts c on c.shard = q.shard and c.user_id = q.user_id and c.room_id = q.room_id
      and c.type = q.type and c.thread_id = q.thread_id`

const dropReceipts = (sql: Sql, appserviceNid: number, rows: readonly ReceiptRow[]) =>
  sql`
    delete from appservice_receipts q
    using unnest(
      ${rows.map((row) => row.room_id)}::text[],
      ${rows.map((row) => row.user_id)}::text[],
      ${rows.map((row) => row.type)}::text[],
      ${rows.map((row) => row.thread_id)}::text[],
      ${rows.map((row) => row.mark)}::bigint[]
    ) w (room_id, user_id, type, thread_id, mark)
    where q.appservice_nid = ${appserviceNid} and q.room_id = w.room_id collate "C"
      and q.user_id = w.user_id collate "C" and q.type = w.type collate "C"
      and q.thread_id = w.thread_id collate "C" and q.mark = w.mark`

export type ListRow = { user_id: string; left_rooms: boolean; mark: number }

/** Notes users whose device lists changed, or are no business of an application service any more. */
export const putLists = (
  sql: Sql,
  rows: readonly { appserviceNid: number; userId: string; left: boolean }[],
) =>
  sql`
    insert into appservice_lists as l (appservice_nid, user_id, left_rooms)
    select * from unnest(
      ${rows.map((row) => row.appserviceNid)}::integer[],
      ${rows.map((row) => row.userId)}::text[],
      ${booleanArray(
        sql,
        rows.map((row) => row.left),
      )}::boolean[]
    )
    on conflict (appservice_nid, user_id) do update
      set left_rooms = excluded.left_rooms, mark = default`

/** Notes all who are joined to some rooms. */
export const putListsOfMembers = (
  sql: Sql,
  rooms: readonly { appserviceNid: number; shard: number; room_nid: number }[],
) =>
  sql`
    insert into appservice_lists as l (appservice_nid, user_id, left_rooms)
    select distinct w.appservice_nid, u.user_id, false
    from unnest(
      ${rooms.map((room) => room.appserviceNid)}::integer[],
      ${rooms.map((room) => room.shard)}::smallint[],
      ${rooms.map((room) => room.room_nid)}::bigint[]
    ) w (appservice_nid, shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation and m.membership = 'join'
    join user_ids u on u.user_nid = m.user_nid
    on conflict (appservice_nid, user_id) do update set left_rooms = false, mark = default`

export const lists = (sql: Sql, appserviceNid: number, limit: number) =>
  sql<ListRow[]>`
    select user_id, left_rooms, mark from appservice_lists
    where appservice_nid = ${appserviceNid}
    limit ${limit}`

const dropLists = (sql: Sql, appserviceNid: number, rows: readonly ListRow[]) =>
  sql`
    delete from appservice_lists l
    using unnest(
      ${rows.map((row) => row.user_id)}::text[], ${rows.map((row) => row.mark)}::bigint[]
    ) w (user_id, mark)
    where l.appservice_nid = ${appserviceNid} and l.user_id = w.user_id collate "C"
      and l.mark = w.mark`

/** Those for whom receipts or device lists wait, or a transaction of an earlier run. */
export const pending = (sql: Sql) =>
  sql<{ appservice_nid: number }[]>`
    select appservice_nid from appservices a
    where exists (select from appservice_txns t where t.appservice_nid = a.appservice_nid)
      or exists (select from appservice_queue q where q.appservice_nid = a.appservice_nid)
      or exists (select from appservice_receipts r where r.appservice_nid = a.appservice_nid)
      or exists (select from appservice_lists l where l.appservice_nid = a.appservice_nid)`
