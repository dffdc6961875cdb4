import type { Sql } from '#store/db.ts'
import * as accountData from '#store/user/account-data.ts'
import * as receipts from '#store/user/receipts.ts'
import type { CallsOf, Results, UserLanded, Writers } from './writer.ts'

export type ReceiptType = 'm.read' | 'm.read.private' | 'm.fully_read'

/** How far a user has read in a room. */
export type Receipt = {
  roomId: string
  type: ReceiptType
  /** '' for none. */
  threadId: string
  eventId: string
  /** Where the event stands in the stream of its room's shard, if it is known here. */
  eventPosition: number | null
  ts: number
}

/** Receipts and read markers; users of other servers have them as well. */
export type ReceiptCalls = {
  /** Moves receipts forwards; `moved` are those that did, by their place in the list. */
  putReceipts: (userId: string, receipts: Receipt[]) => UserLanded & { moved: number[] }
}

export const receiptWriters: Writers<ReceiptCalls> = {
  putReceipts: { write: putReceipts, many: true },
}

const nameOf = (userId: string, roomId: string, type: string, threadId: string) =>
  JSON.stringify([userId, roomId, type, threadId])

async function putReceipts(
  sql: Sql,
  calls: CallsOf<ReceiptCalls['putReceipts']>,
): Promise<Results<ReceiptCalls['putReceipts']>> {
  const furthest = new Map<string, receipts.Row>()
  for (const { shard, userId, position, args } of calls)
    for (const receipt of args[0]) {
      const name = nameOf(userId, receipt.roomId, receipt.type, receipt.threadId)
      const other = furthest.get(name)
      if (!other || !isBehind(receipt, other))
        furthest.set(name, { shard, userId, position, ...receipt })
    }
  const moved = new Map<string, number>()
  for (const row of await receipts.put(sql, [...furthest.values()]))
    moved.set(nameOf(row.user_id, row.room_id, row.type, row.thread_id), row.position)
  const markers = [...furthest].filter(
    ([name, row]) => row.type === 'm.fully_read' && moved.has(name),
  )
  if (markers.length > 0)
    await accountData.put(
      sql,
      markers.map(([, { eventId, ...row }]) => ({
        ...row,
        content: JSON.stringify({ event_id: eventId }),
      })),
    )
  return new Map(
    calls.map(({ userId, position, args: [list] }, index) => {
      const own = list.flatMap(({ roomId, type, threadId }, at) =>
        moved.get(nameOf(userId, roomId, type, threadId)) === position ? [at] : [],
      )
      return [index, { moved: own }]
    }),
  )
}

const isBehind = (a: Receipt, b: receipts.Row): boolean =>
  a.eventPosition !== null && b.eventPosition !== null && a.eventPosition < b.eventPosition
