import type { Sql } from '#store/db.ts'
import { type RelatedWanted, isRelated } from '#store/event-index/related.ts'
import { type EventRow, columns, joins, unshown } from './read-events.ts'

/** A stretch of one room's live events: after `low`, up to and including `high`. */
export type Window = { shard: number; roomNid: number; low: number; high: number }

/** What to take of it. A pattern is one of LIKE. */
export type WindowFilter = {
  types: readonly string[] | undefined
  notTypes: readonly string[]
  senders: readonly string[] | undefined
  notSenders: readonly string[]
  related: RelatedWanted | undefined
}

/** One event of a window, or a row that says that it has none. */
export type WindowRow = {
  window_nid: number
  /** Live events that were looked at. */
  scanned: number
  /** Whether there are more than the limit. */
  more: boolean
  /** Of an event that is read behind a gap, or an import: the position with which that stretch begins. */
  begins: number | null
} & ((EventRow & { push_flags: number }) | { event_nid: null })

/** The newest events of each window, oldest first; with a filter, those among the newest `scan`. */
export const newest = (
  sql: Sql,
  windows: readonly Window[],
  limit: number,
  filter?: { match: WindowFilter; scan: number },
) =>
  sql<WindowRow[]>`
    select w.room_nid as window_nid, found.scanned,
      coalesce(cardinality(found.nids), 0) > ${limit} as more, event.*, gap.begins
    from unnest(
      ${windows.map((each) => each.shard)}::smallint[],
      ${windows.map((each) => each.roomNid)}::bigint[],
      ${windows.map((each) => each.low)}::bigint[],
      ${windows.map((each) => each.high)}::bigint[]
    ) w (shard, room_nid, low, high)
    cross join lateral (
      select count(*)::integer as scanned,
        (array_agg(e.event_nid order by e.position desc)
          ${filter ? sql`filter (where ${matches(sql, filter.match)})` : sql``})[1:${limit + 1}]
          as nids
      from (
        select event_nid, position, type_nid, sender_nid
          ${filter?.match.related ? sql`, event_id` : sql``}
        from events
        where shard = w.shard and room_nid = w.room_nid
          and position > w.low and position <= w.high
          and flags & ${unshown} = 0
        order by position desc
        limit ${filter ? filter.scan : limit + 1}
      ) e
      ${
        filter
          ? sql`join event_types t on t.type_nid = e.type_nid
                join user_ids u on u.user_nid = e.sender_nid`
          : sql``
      }
    ) found
    left join lateral (
      select n.place, e.push_flags, ${columns(sql)}
      from unnest(found.nids[1:${limit}]) with ordinality n (nid, place)
      join events e on e.shard = w.shard and e.event_nid = n.nid
      ${joins(sql)}
    ) event on true
    left join lateral (
      select (
        select f.position from events f
        where f.shard = s.shard and f.chain = s.chain and f.position is not null
          and (s.from_index is null or f.chain_index >= s.from_index)
        order by f.chain_index
        limit 1
      ) as begins
      from spans s
      where s.shard = event.shard and s.chain = event.chain
        and (s.from_index is null or s.from_index <= event.chain_index)
        and (s.to_index is null or s.to_index >= event.chain_index)
        and (cardinality(s.gap) > 0 or s.after_import)
      limit 1
    ) gap on true
    order by w.room_nid, event.place desc`

function matches(sql: Sql, filter: WindowFilter) {
  const { types, notTypes, senders, notSenders, related } = filter
  return sql`
    ${types ? sql`t.type like any(${types as string[]}::text[])` : sql`true`}
    ${notTypes.length ? sql`and not t.type like any(${notTypes as string[]}::text[])` : sql``}
    ${senders ? sql`and u.user_id = any(${senders as string[]}::text[])` : sql``}
    ${notSenders.length ? sql`and u.user_id <> all(${notSenders as string[]}::text[])` : sql``}
    ${
      related
        ? sql`and ${isRelated(sql, related, {
            shard: sql`w.shard`,
            room: sql`w.room_nid`,
            eventId: sql`e.event_id`,
            until: sql`w.high`,
          })}`
        : sql``
    }`
}

/** An event of a chain, and whether reading begins with it or next to it. */
export type Anchor = { chain: number; index: number; inclusive: boolean }

export type SpanRow = {
  ordinal: number
  order_key: Uint8Array
  chain: number
  from_index: number | null
  to_index: number | null
  gap: string[] | null
  nids: number[] | null
  /** The chain indexes of the events, in the same order. */
  indexes: number[] | null
}

/** The events older than an anchor, newest first: at most `limit` of each of at most `spans` spans. */
export const olderSpans = (
  sql: Sql,
  shard: number,
  roomNid: number,
  from: Anchor,
  limit: number,
  spans: number,
) => spansFrom(sql, { shard, roomNid, from, limit, spans, older: true })

/** The same towards newer events. */
export const newerSpans = (
  sql: Sql,
  shard: number,
  roomNid: number,
  from: Anchor,
  limit: number,
  spans: number,
) => spansFrom(sql, { shard, roomNid, from, limit, spans, older: false })

type Reading = {
  shard: number
  roomNid: number
  from: Anchor
  limit: number
  spans: number
  older: boolean
}

function spansFrom(sql: Sql, { shard, roomNid, from, limit, spans, older }: Reading) {
  const order = older ? sql`desc` : sql`asc`
  const { chain, index, inclusive } = from
  return sql<SpanRow[]>`
    with start as (
      select order_key from spans
      where shard = ${shard} and room_nid = ${roomNid} and chain = ${chain}
        and (from_index is null or from_index <= ${index})
        and (to_index is null or to_index >= ${index})
      order by order_key ${order}
      limit 1
    ), page as (
      select s.*, row_number() over (order by s.order_key ${order})::integer as ordinal
      from spans s
      where s.shard = ${shard} and s.room_nid = ${roomNid} and not s.hidden
        and s.order_key ${older ? sql`<=` : sql`>=`} (select order_key from start)
      order by s.order_key ${order}
      limit ${spans}
    )
    select s.ordinal, s.order_key, s.chain, s.from_index, s.to_index, s.gap, found.nids, found.indexes
    from page s
    cross join lateral (
      select array_agg(e.event_nid order by e.chain_index ${order}) as nids,
        array_agg(e.chain_index order by e.chain_index ${order}) as indexes
      from (
        select event_nid, chain_index from events
        where shard = ${shard} and chain = s.chain
          and (s.from_index is null or chain_index >= s.from_index)
          and (s.to_index is null or chain_index <= s.to_index)
          and (s.chain <> ${chain} or chain_index ${
            older ? sql`< ${index + (inclusive ? 1 : 0)}` : sql`> ${index - (inclusive ? 1 : 0)}`
          })
        order by chain_index ${order}
        limit ${limit}
      ) e
    ) found
    order by s.ordinal`
}

/** The last live event of a room at or below a position. */
export const lastLive = (sql: Sql, shard: number, roomNid: number, position: number) =>
  sql<{ event_nid: number; chain: number; chain_index: number; position: number }[]>`
    select event_nid, chain, chain_index, position
    from events
    where shard = ${shard} and room_nid = ${roomNid} and position <= ${position}
      and chain is not null
    order by position desc
    limit 1`

/** Whether a chain is, or was, read in a room. */
export async function isRead(
  sql: Sql,
  shard: number,
  roomNid: number,
  chain: number,
): Promise<boolean> {
  const rows = await sql`
    select from spans where shard = ${shard} and room_nid = ${roomNid} and chain = ${chain} limit 1`
  return rows.length > 0
}

/** The chain and index at which a room begins to be read. */
export const firstSpan = (sql: Sql, shard: number, roomNid: number) =>
  sql<{ chain: number; from_index: number | null }[]>`
    select chain, from_index from spans
    where shard = ${shard} and room_nid = ${roomNid} and not hidden
    order by order_key
    limit 1`

/** Where an event of a chain, or the nearest live one before it, stands in its shard's stream. */
export const positionOf = (
  sql: Sql,
  shard: number,
  roomNid: number,
  chain: number,
  index: number,
) =>
  sql<{ position: number }[]>`
    select position
    from events
    where shard = ${shard} and chain = ${chain} and chain_index <= ${index}
      and room_nid = ${roomNid} and position is not null
    order by chain_index desc
    limit 1`
