import type { Fault } from '#engine/appservice/link.ts'
import type { AppserviceSender, Receiver } from '#engine/appservice/sender.ts'
import type { Pool } from '#store/db.ts'
import * as stuck from '#store/appservice/stuck.ts'

/** What an application service waits for: to answer, for its next turn, to connect, or for nothing. */
export type WaitsFor = 'answer' | 'retry' | 'connection' | 'nothing'

/** How one application service fares. */
export type Standing = {
  id: string
  url: string | null
  /** Whether it is sent anything: one without an address is when it has connected once. */
  follows: boolean
  isUp: boolean
  events: number
  receipts: number
  lists: number
  oldestMs: number
  waitsFor: WaitsFor
  inFlight: { txnId: string; eventIds: string[]; size: number; forMs: number } | undefined
  failures: number
  fault: Fault | undefined
  retryInMs: number | undefined
  sent: number
  dropped: number
}

/** How those who are registered fare, in their order. */
export async function readStandings(
  sql: Pool,
  receivers: readonly Receiver[],
  counts: AppserviceSender['counts'],
  active: ReadonlySet<number>,
  now: number,
): Promise<Standing[]> {
  const rows = await stuck.waiting(
    sql,
    receivers.map(({ nid }) => nid),
  )
  const byNid = new Map(rows.map((row) => [row.appservice_nid, row]))
  return receivers.flatMap(({ nid, appservice: { id, url } }, place) => {
    const row = byNid.get(nid)
    if (!row) return []
    const count = counts[place]!
    const inFlight = inFlightOf(row, now)
    const isWaiting =
      count.waiting + row.receipts + row.lists > 0 || inFlight !== undefined || count.failures > 0
    const { isUp, isUnderWay, failures, fault, sent, dropped } = count
    let waitsFor: WaitsFor = 'nothing'
    if (isWaiting) waitsFor = !isUp ? 'connection' : isUnderWay ? 'answer' : 'retry'
    return {
      id,
      url,
      follows: active.has(place),
      isUp,
      events: count.waiting,
      receipts: row.receipts,
      lists: row.lists,
      oldestMs: Math.max(0, now - (row.made_at ?? row.oldest ?? now)),
      waitsFor,
      inFlight,
      failures,
      fault,
      retryInMs: waitsFor === 'retry' ? Math.max(0, count.retryAt - now) : undefined,
      sent,
      dropped,
    }
  })
}

function inFlightOf(
  { txn_id: txnId, body, made_at: madeAt }: stuck.WaitingRow,
  now: number,
): Standing['inFlight'] {
  if (txnId === null || body === null || madeAt === null) return undefined
  const eventIds = stuck.eventsOf(body).map(({ event_id: id }) => id as string)
  return { txnId, eventIds, size: body.length, forMs: Math.max(0, now - madeAt) }
}
