import { pushFacts } from '#core/push/facts.ts'
import type { Sql } from '#store/db.ts'
import { eventFlags } from '#store/room/batch.ts'

/** The live events of one room of a user: after `low`, up to `high`. */
export type Window = { shard: number; roomNid: number; low: number; high: number }

/** Where a page ended; what comes next is older. */
export type From = { ts: number; nid: number }

export type Candidate = {
  shard: number
  event_nid: number
  room_nid: number
  position: number
  ts: number
  push_flags: number
  joined_members: number
}

const { rejected, softFailed, outlier } = eventFlags

/** Of each room, the newest events that are looked at, and the newest that name the user. */
const maxNewest = 200
const maxMentions = 200

/**
 * The newest events of some rooms that a user may be notified of: what the default rules notify of, or with
 * `all` whatever somebody else sent.
 */
export const candidates = (
  sql: Sql,
  userId: string,
  windows: readonly Window[],
  { from, all, limit }: { from: From | undefined; all: boolean; limit: number },
) =>
  sql<Candidate[]>`
    with me as materialized (select user_nid from user_ids where user_id = ${userId})
    select w.shard, e.event_nid, w.room_nid, e.position, e.origin_server_ts as ts, e.push_flags,
      r.joined_members
    from unnest(
      ${windows.map((each) => each.shard)}::smallint[],
      ${windows.map((each) => each.roomNid)}::bigint[],
      ${windows.map((each) => each.low)}::bigint[],
      ${windows.map((each) => each.high)}::bigint[]
    ) w (shard, room_nid, low, high)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    cross join lateral (
      select n.position from (
        select position, push_flags, sender_nid from events
        where shard = w.shard and room_nid = w.room_nid
          and position > w.low and position <= w.high
        order by position desc
        limit ${maxNewest}
      ) n
      where n.sender_nid <> (select user_nid from me)
        ${all ? sql`` : sql`and n.push_flags & ${pushFacts.notify} <> 0`}
      union
      select m.position from (
        select position from mentions
        where shard = w.shard and room_nid = w.room_nid
          and user_nid = (select user_nid from me) and position > w.low and position <= w.high
        order by position desc
        limit ${maxMentions}
      ) m
    ) c
    join events e on e.shard = w.shard and e.room_nid = w.room_nid and e.position = c.position
    where e.flags & ${rejected | softFailed | outlier} = 0
      and e.sender_nid <> (select user_nid from me)
      ${from ? sql`and (e.origin_server_ts, e.event_nid) < (${from.ts}::bigint, ${from.nid}::bigint)` : sql``}
    order by e.origin_server_ts desc, e.event_nid desc
    limit ${limit}`
