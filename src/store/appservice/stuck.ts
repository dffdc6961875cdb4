import { isObject, type JsonObject } from '#core/json.ts'
import type { Pool, Sql } from '#store/db.ts'

// What waits for application services, and how an operator gets past what one refuses.

export type WaitingRow = {
  appservice_nid: number
  receipts: number
  lists: number
  /** When the oldest event of the queue was queued; null if it is empty. */
  oldest: number | null
  /** The transaction in flight; null: there is none. */
  txn_id: string | null
  body: string | null
  made_at: number | null
}

/** What waits for each of some. */
export const waiting = (sql: Sql, nids: readonly number[]) =>
  sql<WaitingRow[]>`
    select a.appservice_nid, t.txn_id, t.body, t.made_at,
      (select count(*) from appservice_receipts r where r.appservice_nid = a.appservice_nid)
        as receipts,
      (select count(*) from appservice_lists l where l.appservice_nid = a.appservice_nid) as lists,
      (
        select queued_at from appservice_queue q where q.appservice_nid = a.appservice_nid
        order by queue_no limit 1
      ) as oldest
    from appservices a
    left join appservice_txns t on t.appservice_nid = a.appservice_nid
    where a.appservice_nid = any(${nids as number[]}::integer[])`

/** Since when something waits for each: in flight, or in the queue. */
export const oldest = (sql: Sql) =>
  sql<{ appservice_nid: number; since: number }[]>`
    select appservice_nid, since from (
      select a.appservice_nid, coalesce(
        (select made_at from appservice_txns t where t.appservice_nid = a.appservice_nid),
        (
          select queued_at from appservice_queue q where q.appservice_nid = a.appservice_nid
          order by queue_no limit 1
        )
      ) as since
      from appservices a
    ) w
    where since is not null`

/** The events of a transaction, as it is sent. */
export function eventsOf(body: string): JsonObject[] {
  const { events } = JSON.parse(body) as { events?: unknown }
  return Array.isArray(events) ? events.filter(isObject) : []
}

/**
 * Drops the transaction in flight, if it is this one; or puts another in its place that lacks some events.
 * Answers how many events are gone; undefined: it is not in flight, or has none of them.
 */
export const skip = (
  pool: Pool,
  {
    nid,
    txnId,
    eventIds,
    now,
  }: { nid: number; txnId: string; eventIds?: readonly string[] | undefined; now: number },
): Promise<number | undefined> =>
  pool.begin(async (sql) => {
    const [txn] = await sql<{ body: string }[]>`
      select body from appservice_txns where appservice_nid = ${nid} and txn_id = ${txnId}
      for update`
    if (!txn) return undefined
    const events = eventsOf(txn.body)
    const left = eventIds
      ? events.filter(({ event_id: id }) => !eventIds.includes(id as string))
      : []
    if (eventIds && left.length === events.length) return undefined
    await sql`delete from appservice_txns where appservice_nid = ${nid} and txn_id = ${txnId}`
    if (eventIds) {
      const body = JSON.stringify({ ...(JSON.parse(txn.body) as JsonObject), events: left })
      await sql`
        with given as (
          update appservices set next_txn = next_txn + 1 where appservice_nid = ${nid}
          returning created_at || '-' || (next_txn - 1) as txn_id
        )
        insert into appservice_txns (appservice_nid, txn_id, body, events, made_at)
        select ${nid}, txn_id, ${body}, ${left.length}, ${now} from given`
    }
    return events.length - left.length
  })
