import type { Sql } from '#store/db.ts'
import { unshown } from './read-events.ts'

export type TimedRow = {
  event_nid: number
  origin_server_ts: number
  /** The place: where its span stands in the room, and its index in the chain. */
  order_key: Uint8Array
  chain: number
  chain_index: number
}

/** From which time on; `after` is the last event of the page before. */
export type TimedFrom = { ts: number; after?: TimedRow }

/**
 * The events of a room that are readable, from a time on, the nearest first: towards later events, or
 * towards earlier ones. Of several at the same time that comes first which is read first on the way.
 */
export const byTime = (
  sql: Sql,
  shard: number,
  roomNid: number,
  { ts, after }: TimedFrom,
  direction: 'f' | 'b',
  limit: number,
) => {
  const order = direction === 'f' ? sql`asc` : sql`desc`
  const from = after?.origin_server_ts ?? ts
  return sql<TimedRow[]>`
    select e.event_nid, e.origin_server_ts, s.order_key, e.chain, e.chain_index
    from events e
    join spans s on s.shard = e.shard and s.room_nid = e.room_nid and s.chain = e.chain
      and not s.hidden
      and (s.from_index is null or s.from_index <= e.chain_index)
      and (s.to_index is null or s.to_index >= e.chain_index)
    where e.shard = ${shard} and e.room_nid = ${roomNid} and e.chain is not null
      and e.origin_server_ts ${direction === 'f' ? sql`>=` : sql`<=`} ${from}
      and e.flags & ${unshown} = 0
      ${
        after
          ? sql`and (e.origin_server_ts, s.order_key, e.chain_index)
              ${direction === 'f' ? sql`>` : sql`<`}
              (${after.origin_server_ts}::bigint, ${after.order_key}::bytea, ${after.chain_index}::integer)`
          : sql``
      }
    order by e.origin_server_ts ${order}, s.order_key ${order}, e.chain_index ${order}
    limit ${limit}`
}

/** What is missing before the oldest events of a room. */
export const firstGap = (sql: Sql, shard: number, roomNid: number) =>
  sql<{ gap: string[] | null }[]>`
    select gap from spans
    where shard = ${shard} and room_nid = ${roomNid} and not hidden
    order by order_key
    limit 1`
