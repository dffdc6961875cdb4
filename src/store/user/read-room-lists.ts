import type { Sql } from '#store/db.ts'

export type Row = { room_id: string; type: string; content: string }

/** What a user says of their rooms, in a stretch of their shard: which are direct, and their tags. */
export const changed = (sql: Sql, shard: number, userId: string, low: number, high: number) =>
  sql<Row[]>`
    select room_id, type, content
    from account_data
    where shard = ${shard} and user_id = ${userId} and position > ${low} and position <= ${high}
      and (type = 'm.tag' or (type = 'm.direct' and room_id = ''))`

/** The whole account data of some rooms, up to a position. */
export const ofRooms = (
  sql: Sql,
  shard: number,
  userId: string,
  roomIds: readonly string[],
  high: number,
) =>
  sql<Row[]>`
    select room_id, type, content
    from account_data
    where shard = ${shard} and user_id = ${userId} and position <= ${high}
      and room_id = any(${roomIds as string[]}::text[])
    order by position`

export type ReceiptRow = {
  room_id: string
  user_id: string
  type: string
  thread_id: string
  event_id: string
  ts: number
}

/** A user's own receipts in some rooms, and what others have read of some events of them. */
export const receiptsOn = (
  sql: Sql,
  shard: number,
  userId: string,
  roomIds: readonly string[],
  eventIds: readonly string[],
) =>
  sql<ReceiptRow[]>`
    select room_id, user_id, type, thread_id, event_id, ts
    from receipts
    where shard = ${shard} and user_id = ${userId}
      and room_id = any(${roomIds as string[]}::text[]) and type in ('m.read', 'm.read.private')
    union all
    select room_id, user_id, type, thread_id, event_id, ts
    from receipts
    where room_id = any(${roomIds as string[]}::text[])
      and event_id = any(${eventIds as string[]}::text[])
      and type = 'm.read' and user_id <> ${userId}`
