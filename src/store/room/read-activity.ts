import type { Sql } from '#store/db.ts'
import { unshown } from './read-events.ts'

/** A room to look at, up to `high`; what is at or below `known` and `traitsAt` was seen before. */
export type Look = {
  shard: number
  roomNid: number
  high: number
  /** Activity up to here is known; 0: none. */
  known: number
  /** State up to here is known; −1: none. */
  traitsAt: number
}

export type ActivityRow = {
  room_nid: number
  /** When the last live event was sent; null: there is none. */
  last_ts: number | null
  /** The last event after `known` that counts as activity. */
  bump_ts: number | null
  /** Whether state of the types asked for changed. */
  moved: boolean
}

/** When rooms were last active, and whether state of some types changed. At most `scan` events of each are gone through. */
export const activity = (
  sql: Sql,
  looks: readonly Look[],
  bumpTypes: readonly string[],
  traitTypes: readonly string[],
  scan: number,
) =>
  sql<ActivityRow[]>`
    with bumps as materialized (
      select type_nid from event_types where type = any(${bumpTypes as string[]}::text[])
    ), traits as materialized (
      select type_nid from event_types where type = any(${traitTypes as string[]}::text[])
    )
    select w.room_nid, last.ts as last_ts, bump.ts as bump_ts,
      w.traits_at >= 0 and exists (
        select from state_deltas d
        where d.shard = w.shard and d.room_nid = w.room_nid
          and d.position > w.traits_at and d.position <= w.high
          and (d.state_key_nid = 0 or d.type_nid in (select type_nid from traits))
      ) as moved
    from unnest(
      ${looks.map((each) => each.shard)}::smallint[],
      ${looks.map((each) => each.roomNid)}::bigint[],
      ${looks.map((each) => each.high)}::bigint[],
      ${looks.map((each) => each.known)}::bigint[],
      ${looks.map((each) => each.traitsAt)}::bigint[]
    ) w (shard, room_nid, high, known, traits_at)
    left join lateral (
      select origin_server_ts as ts from events
      where shard = w.shard and room_nid = w.room_nid and position <= w.high
        and flags & ${unshown} = 0
      order by position desc
      limit 1
    ) last on true
    left join lateral (
      select e.ts from (
        select origin_server_ts as ts, type_nid, position from events
        where shard = w.shard and room_nid = w.room_nid
          and position > w.known and position <= w.high
          and flags & ${unshown} = 0
        order by position desc
        limit ${scan}
      ) e
      where e.type_nid in (select type_nid from bumps)
      order by e.position desc
      limit 1
    ) bump on true`

export type MemberRow = { event_nid: number; sender: string; ts: number }

/** Who sent some member events, and when. */
export const senders = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<MemberRow[]>`
    select e.event_nid, u.user_id as sender, e.origin_server_ts as ts
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join events e on e.shard = w.shard and e.event_nid = w.nid
    join user_ids u on u.user_nid = e.sender_nid`
