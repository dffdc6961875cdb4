import { pushFacts } from '#core/push/facts.ts'
import type { Sql } from '#store/db.ts'

/** The live events of one room to count: after `low` (those in no thread after `mainLow`), up to `high`. */
export type Stretch = {
  shard: number
  roomNid: number
  low: number
  mainLow: number
  high: number
}

export type CountRow = {
  room_nid: number
  /** How many events were looked at. */
  looked: number
  notify: number
  highlight: number
  /** Events in threads that count for something, oldest first; with them the next three. */
  nids: number[] | null
  positions: number[] | null
  flags: number[] | null
  owned: number[] | null
}

const { notify, highlight, threaded } = pushFacts

/** What stretches are made of, whoever asks. */
const windowsOf = (sql: Sql, stretches: readonly Stretch[]) => sql`
  unnest(
    ${stretches.map((each) => each.shard)}::smallint[],
    ${stretches.map((each) => each.roomNid)}::bigint[],
    ${stretches.map((each) => each.low)}::bigint[],
    ${stretches.map((each) => each.mainLow)}::bigint[],
    ${stretches.map((each) => each.high)}::bigint[]
  ) w (shard, room_nid, low, main_low, high)`

/**
 * What the default push rules ask of the newest `limit` events of each stretch, by what was stored
 * with the events. What a user sent has been read by them, with all before it in its thread.
 */
export const counts = (
  sql: Sql,
  userId: string,
  ignored: readonly string[],
  stretches: readonly Stretch[],
  limit: number,
) =>
  sql<CountRow[]>`
    with me as materialized (select user_nid from user_ids where user_id = ${userId}),
    mute as materialized (
      select user_nid from user_ids where user_id = any(${ignored as string[]}::text[])
    )
    select w.room_nid, found.*
    from ${windowsOf(sql, stretches)}
    cross join lateral (
      select count(*)::integer as looked,
        count(*) filter (where e.main and e.flags & ${notify} <> 0)::integer as notify,
        count(*) filter (where e.main and e.flags & ${highlight} <> 0)::integer as highlight,
        array_agg(e.event_nid order by e.position) filter (where e.aside) as nids,
        array_agg(e.position order by e.position) filter (where e.aside) as positions,
        array_agg(e.flags order by e.position) filter (where e.aside) as flags,
        array_agg(e.own::integer order by e.position) filter (where e.aside) as owned
      from (
        select e.event_nid, e.position, e.flags, e.own,
          not e.threaded and not e.own and e.position > w.main_low and e.position > coalesce(
            max(e.position) filter (where e.own and not e.threaded) over (), 0
          ) as main,
          e.threaded and (e.own or e.flags & ${notify | highlight} <> 0) as aside
        from (
          select e.event_nid, e.position,
            e.sender_nid = (select user_nid from me) as own,
            e.push_flags & ${threaded} <> 0 as threaded,
            case when exists (
              select from mentions m
              where m.shard = w.shard and m.room_nid = w.room_nid
                and m.user_nid = (select user_nid from me) and m.position = e.position
            ) then ${notify | highlight} else e.push_flags end as flags
          from (
            select event_nid, position, sender_nid, push_flags from events
            where shard = w.shard and room_nid = w.room_nid
              and position > w.low and position <= w.high
            order by position desc
            limit ${limit}
          ) e
          where e.sender_nid not in (select user_nid from mute)
        ) e
      ) e
    ) found`

export type EventRow = {
  room_nid: number
  event_nid: number
  position: number
  push_flags: number
  own: boolean
  json: string
  joined_members: number
}

/** The newest `limit` events of each stretch, whole, for rules that are not the default ones. */
export const events = (
  sql: Sql,
  userId: string,
  ignored: readonly string[],
  stretches: readonly Stretch[],
  limit: number,
) =>
  sql<EventRow[]>`
    select w.room_nid, e.event_nid, e.position, e.push_flags, e.own, j.json, r.joined_members
    from ${windowsOf(sql, stretches)}
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    cross join lateral (
      select event_nid, position, push_flags,
        sender_nid = (select user_nid from user_ids where user_id = ${userId}) as own
      from events
      where shard = w.shard and room_nid = w.room_nid and position > w.low and position <= w.high
        and sender_nid not in (
          select user_nid from user_ids where user_id = any(${ignored as string[]}::text[])
        )
      order by position desc
      limit ${limit}
    ) e
    join event_json j on j.shard = w.shard and j.event_nid = e.event_nid
    order by e.position`
