import { type Sql, byteaArray } from '#store/db.ts'
import { isUndone } from './related.ts'

/** A place in the reading order; with `inclusive`, what stands there is on the far side of it. */
export type Bound = { chain: number; index: number; inclusive: boolean }

export type PageRow = { event_nid: number; chain: number; chain_index: number }

export type RelationsWanted = {
  shard: number
  roomNid: number
  target: Uint8Array
  relType: string | undefined
  type: string | undefined
  /** Levels of relations of relations. */
  depth: number
  /** Whose events are left out. */
  ignored: readonly string[]
  older: boolean
  from: Bound | undefined
  to: Bound | undefined
  limit: number
}

const spanOf = (sql: Sql, { shard, roomNid }: { shard: number; roomNid: number }, at: Bound) =>
  sql`(
    select order_key from spans
    where shard = ${shard} and room_nid = ${roomNid} and chain = ${at.chain}
      and (from_index is null or from_index <= ${at.index})
      and (to_index is null or to_index >= ${at.index})
    limit 1)`

/** Whether a row of `p (order_key, chain_index)` lies beyond a bound, as the page is read. */
function beyond(
  sql: Sql,
  room: { shard: number; roomNid: number },
  at: Bound | undefined,
  older: boolean,
) {
  if (!at) return sql`true`
  const { index, inclusive } = at
  return older
    ? sql`(p.order_key, p.chain_index) < (${spanOf(sql, room, at)}, ${index + (inclusive ? 1 : 0)}::integer)`
    : sql`(p.order_key, p.chain_index) > (${spanOf(sql, room, at)}, ${index - (inclusive ? 1 : 0)}::integer)`
}

/** Whether a row of `p` lies before a bound at which the page ends. */
function within(
  sql: Sql,
  room: { shard: number; roomNid: number },
  to: Bound | undefined,
  older: boolean,
) {
  if (!to) return sql`true`
  const { index, inclusive } = to
  return older
    ? sql`(p.order_key, p.chain_index) >= (${spanOf(sql, room, to)}, ${index + (inclusive ? 1 : 0)}::integer)`
    : sql`(p.order_key, p.chain_index) <= (${spanOf(sql, room, to)}, ${index - (inclusive ? 1 : 0)}::integer)`
}

const notIgnored = (sql: Sql, ignored: readonly string[]) =>
  sql`r.sender_nid not in (
    select user_nid from user_ids where user_id = any(${ignored as string[]}::text[]))`

const spanJoin = (sql: Sql) => sql`
  join spans s on s.shard = r.shard and s.room_nid = r.room_nid and s.chain = r.chain
    and (s.from_index is null or s.from_index <= r.chain_index)
    and (s.to_index is null or s.to_index >= r.chain_index) and not s.hidden`

/** Whether a place is in the history of a room. */
export async function isPlace(
  sql: Sql,
  room: { shard: number; roomNid: number },
  at: Bound,
): Promise<boolean> {
  const [row] = await sql<{ found: boolean }[]>`
    select ${spanOf(sql, room, at)} is not null as found`
  return row!.found
}

/** What relates to an event, in reading order: one more than the limit if there is more. */
export function page(sql: Sql, wanted: RelationsWanted) {
  const { shard, roomNid, target, relType, type, depth, ignored, older, from, to, limit } = wanted
  const order = older ? sql`desc` : sql`asc`
  return sql<PageRow[]>`
    with recursive tree as (
      select r.*, 1 as depth from relations r
      where r.shard = ${shard} and r.room_nid = ${roomNid} and r.target_id = ${target}
      union all
      select r.*, t.depth + 1 from tree t
      join relations r on r.shard = ${shard} and r.room_nid = ${roomNid} and r.target_id = t.event_id
      where t.depth < ${depth} and r.event_id <> ${target}
    ), p as (
      select r.event_nid, r.chain, r.chain_index, s.order_key
      from tree r
      ${spanJoin(sql)}
      where ${notIgnored(sql, ignored)}
        ${relType === undefined ? sql`` : sql`and r.rel_type = ${relType}`}
        ${
          type === undefined
            ? sql``
            : sql`and r.type_nid = (select type_nid from event_types where type = ${type})`
        }
    )
    select p.event_nid, p.chain, p.chain_index from p
    where ${beyond(sql, wanted, from, older)} and ${within(sql, wanted, to, older)}
    order by p.order_key ${order}, p.chain_index ${order}
    limit ${limit + 1}`
}

export type ThreadsWanted = {
  shard: number
  roomNid: number
  userId: string
  participated: boolean
  ignored: readonly string[]
  from: Bound | undefined
  limit: number
}

/** The roots of a room's threads, that with the latest reply first; the place is that of the reply. */
export const threads = (sql: Sql, wanted: ThreadsWanted) =>
  sql<PageRow[]>`
    with latest as (
      select distinct on (r.target_id) r.target_id, s.order_key, r.chain, r.chain_index
      from relations r
      ${spanJoin(sql)}
      where r.shard = ${wanted.shard} and r.room_nid = ${wanted.roomNid}
        and r.rel_type = 'm.thread'
        and ${notIgnored(sql, wanted.ignored)}
      order by r.target_id, s.order_key desc, r.chain_index desc
    ), p as (
      select e.event_nid, l.chain, l.chain_index, l.order_key
      from latest l
      join event_ids i on i.event_id = l.target_id and i.shard = ${wanted.shard}
      join events e on e.shard = i.shard and e.event_nid = i.event_nid
        and e.room_nid = ${wanted.roomNid} and not ${isUndone(sql, sql`e`)}
      ${
        wanted.participated
          ? sql`
            where exists (
              select from user_ids u
              where u.user_id = ${wanted.userId} and (e.sender_nid = u.user_nid or exists (
                select from relations r
                where r.shard = ${wanted.shard} and r.room_nid = ${wanted.roomNid}
                  and r.target_id = l.target_id and r.rel_type = 'm.thread'
                  and r.sender_nid = u.user_nid and not ${isUndone(sql, sql`r`)})))`
          : sql``
      }
    )
    select p.event_nid, p.chain, p.chain_index from p
    where ${beyond(sql, wanted, wanted.from, true)}
    order by p.order_key desc, p.chain_index desc
    limit ${wanted.limit + 1}`

export type Parent = {
  shard: number
  roomNid: number
  nid: number
  eventId: Uint8Array
  /** Events behind this position are none of the reader's. */
  until: number
}

export type BundleRow = {
  event_nid: number
  replaced_by: number | null
  replies: number
  latest_reply: number | null
  participated: boolean
  /** Packed event IDs. */
  references: Uint8Array[] | null
}

/** Events of a reference that are named at most. */
const maxReferences = 100

/** What is to be told of the events that relate to some others; those with none have no row. */
export const bundles = (
  sql: Sql,
  parents: readonly Parent[],
  userId: string,
  ignored: readonly string[],
) =>
  sql<BundleRow[]>`
    with parent as (
      select w.* from unnest(
        ${parents.map((each) => each.shard)}::smallint[],
        ${parents.map((each) => each.roomNid)}::bigint[],
        ${parents.map((each) => each.nid)}::bigint[],
        ${byteaArray(
          sql,
          parents.map((each) => each.eventId),
        )}::bytea[],
        ${parents.map((each) => each.until)}::bigint[]
      ) w (shard, room_nid, event_nid, event_id, until)
      where exists (
        select from relations r
        where r.shard = w.shard and r.room_nid = w.room_nid and r.target_id = w.event_id
          and r.rel_type in ('m.replace', 'm.thread', 'm.reference'))
    ), hidden as materialized (
      select ${userNid(sql, userId)} as me, array(
        select user_nid from user_ids where user_id = any(${ignored as string[]}::text[])) as nids
    )
    select p.event_nid, replacement.event_nid as replaced_by, thread.replies, thread.latest_reply,
      coalesce(e.sender_nid = h.me or thread.joined_in, false) as participated,
      reference.ids as references
    from parent p
    join events e on e.shard = p.shard and e.event_nid = p.event_nid
    cross join hidden h
    left join lateral (
      select r.event_nid from relations r
      where r.shard = p.shard and r.room_nid = p.room_nid and r.target_id = p.event_id
        and r.rel_type = 'm.replace' and r.replaces and r.sender_nid = e.sender_nid
        and r.type_nid = e.type_nid and coalesce(r.position, 0) <= p.until
        and not ${isUndone(sql, sql`r`)}
      -- The greatest ID as it is written; bytes have another order.
      order by r.origin_server_ts desc, ${asWritten(sql)} collate "C" desc
      limit 1
    ) replacement on true
    cross join lateral (
      select count(*)::integer as replies,
        (array_agg(r.event_nid order by s.order_key desc, r.chain_index desc))[1] as latest_reply,
        bool_or(r.sender_nid = h.me) as joined_in
      from relations r
      ${spanJoin(sql)}
      where r.shard = p.shard and r.room_nid = p.room_nid and r.target_id = p.event_id
        and r.rel_type = 'm.thread' and r.sender_nid <> all(h.nids)
        and coalesce(r.position, 0) <= p.until
    ) thread
    cross join lateral (
      select array_agg(found.event_id order by found.event_nid) as ids
      from (
        select r.event_id, r.event_nid from relations r
        where r.shard = p.shard and r.room_nid = p.room_nid and r.target_id = p.event_id
          and r.rel_type = 'm.reference' and r.sender_nid <> all(h.nids)
          and coalesce(r.position, 0) <= p.until and not ${isUndone(sql, sql`r`)}
        order by r.event_nid
        limit ${maxReferences}
      ) found
    ) reference`

const userNid = (sql: Sql, userId: string) =>
  sql`(select user_nid from user_ids where user_id = ${userId})`

const asWritten = (sql: Sql) => sql`
  case when octet_length(r.event_id) = 32
    then translate(encode(r.event_id, 'base64'), '+/', '-_')
    else encode(r.event_id, 'escape') end`

/** A user's annotation of an event that says the same, if there is one. */
export const annotation = (
  sql: Sql,
  room: { shard: number; roomNid: number },
  target: Uint8Array,
  { sender, type, key }: { sender: string; type: string; key: string },
) =>
  sql<{ event_nid: number }[]>`
    select r.event_nid from relations r
    where r.shard = ${room.shard} and r.room_nid = ${room.roomNid} and r.target_id = ${target}
      and r.rel_type = 'm.annotation' and r.key_md5 = md5(${key})::uuid
      and r.sender_nid = ${userNid(sql, sender)}
      and r.type_nid = (select type_nid from event_types where type = ${type})
      and not ${isUndone(sql, sql`r`)}
    limit 1`
