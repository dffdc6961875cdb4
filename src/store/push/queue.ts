import { pushFacts } from '#core/push/facts.ts'
import { SHARDS } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import { type Stretch, stretchesOf } from '#store/two-cursors.ts'

/** What is to be told of one event to all pushers of a user. */
export type Notice = {
  userId: string
  roomNid: number
  eventNid: number
  position: number
  /** JSON. */
  actions: string
}

/** A pusher with news, and whom it speaks to; '' for e-mail. */
export type Queued = { pusher_id: number; gateway: string }

export const putNotices = (sql: Sql, notices: readonly Notice[], now: number) =>
  sql<Queued[]>`
    with put as (
      insert into push_queue (
        shard, pusher_id, queued_at, room_nid, event_nid, event_position, actions
      )
      select p.shard, p.pusher_id, ${now}, n.room_nid, n.event_nid, n.position, n.actions
      from unnest(
        ${notices.map((notice) => notice.userId)}::text[],
        ${notices.map((notice) => notice.roomNid)}::bigint[],
        ${notices.map((notice) => notice.eventNid)}::bigint[],
        ${notices.map((notice) => notice.position)}::bigint[],
        ${notices.map((notice) => notice.actions)}::text[]
      ) with ordinality n (user_id, room_nid, event_nid, position, actions, place)
      join pushers p on p.user_id = n.user_id collate "C"
      order by n.place
      returning pusher_id
    )
    select distinct q.pusher_id, p.gateway from put q join pushers p using (pusher_id)`

/** Has those told what is unread to whom a count was told, or soon will be. */
const putCounts = (sql: Sql, users: ReturnType<typeof sql>, now: number) =>
  sql<Queued[]>`
    with put as (
      insert into push_queue (shard, pusher_id, queued_at)
      select p.shard, p.pusher_id, ${now}
      from pushers p
      where p.user_id in (${users}) and p.kind = 'http'
        and (p.told_unread <> 0 or exists (
          select from push_queue q where q.shard = p.shard and q.pusher_id = p.pusher_id))
      returning pusher_id
    )
    select q.pusher_id, p.gateway from put q join pushers p using (pusher_id)`

/** After what these users have sent: with it they have read what was before. */
export const putCountsOf = (sql: Sql, userIds: readonly string[], now: number) =>
  putCounts(sql, sql`select unnest(${userIds as string[]}::text[])`, now)

/** After what was read in these stretches of user shards. */
export const putCountsIn = (sql: Sql, stretches: readonly Stretch[], now: number) =>
  putCounts(
    sql,
    sql`
      select c.user_id
      from ${stretchesOf(sql, stretches)}
      join receipts c on c.shard = s.shard and c.position > s.low and c.position <= s.high
      where c.type in ('m.read', 'm.read.private')`,
    now,
  )

/** The pushers over HTTP that have something left to tell. */
export const pending = (sql: Sql) =>
  sql<Queued[]>`
    select p.pusher_id, p.gateway
    from pushers p
    where p.kind = 'http' and exists (
      select from push_queue q where q.shard = p.shard and q.pusher_id = p.pusher_id)`

export type Item = {
  shard: number
  pusher_id: number
  user_id: string
  app_id: string
  pushkey: string
  kind: 'http' | 'email'
  created_at: number
  data: string
  stop_token: string | null
  told_unread: number
  queue_no: number
  queued_at: number
  room_nid: number | null
  event_nid: number | null
  event_position: number | null
  actions: string | null
  room_id: string | null
  version: string | null
  event_id: Uint8Array | null
  json: string | null
  /** It was read, or taken back, since it was queued. */
  settled: boolean
  /** The last letter with something of the room, and until when there is to be no other. */
  sent_at: number | null
  pause_ms: number | null
}

/** The oldest items of some pushers, at most `limit` of each, in their order. */
export const take = (sql: Sql, pusherIds: readonly number[], limit: number) =>
  sql<Item[]>`
    select p.shard, p.pusher_id, p.user_id, p.app_id, p.pushkey, p.kind, p.created_at, p.data,
      p.stop_token, p.told_unread, q.queue_no, q.queued_at, q.room_nid, q.event_nid,
      q.event_position, q.actions, r.room_id, r.version, e.event_id, j.json, l.sent_at, l.pause_ms,
      q.event_nid is not null and (e.event_nid is null or exists (
        select from receipts c
        where c.shard = p.shard and c.user_id = p.user_id and c.room_id = r.room_id
          and c.type in ('m.read', 'm.read.private') and c.event_position >= q.event_position
          and (c.thread_id = ''
            or (c.thread_id = 'main' and e.push_flags & ${pushFacts.threaded} = 0))
      ) or exists (
        select from redactions x
        where x.shard = e.shard and x.room_nid = e.room_nid and x.target_id = e.event_id
          and x.applied
      )) as settled
    from pushers p
    cross join lateral (
      select * from push_queue q
      where q.shard = p.shard and q.pusher_id = p.pusher_id
      order by q.queue_no
      limit ${limit}
    ) q
    left join events e on e.shard = (q.event_nid % ${SHARDS}::bigint)::smallint and e.event_nid = q.event_nid
    left join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    left join rooms r on r.shard = e.shard and r.room_nid = e.room_nid
    left join push_letters l
      on l.shard = p.shard and l.pusher_id = p.pusher_id and l.room_nid = q.room_nid
    where p.pusher_id = any(${pusherIds as number[]}::bigint[])
    order by p.pusher_id, q.queue_no`

/** Drops what was told: up to an item of each pusher. */
export const dropUpTo = (
  sql: Sql,
  done: readonly { shard: number; pusherId: number; queueNo: number }[],
) =>
  sql`
    delete from push_queue q
    using unnest(
      ${done.map((each) => each.shard)}::smallint[],
      ${done.map((each) => each.pusherId)}::bigint[],
      ${done.map((each) => each.queueNo)}::bigint[]
    ) d (shard, pusher_id, queue_no)
    where q.shard = d.shard and q.pusher_id = d.pusher_id and q.queue_no <= d.queue_no`

/** Drops single items. */
export const dropItems = (
  sql: Sql,
  items: readonly Pick<Item, 'shard' | 'pusher_id' | 'queue_no'>[],
) =>
  sql`
    delete from push_queue q
    using unnest(
      ${items.map((item) => item.shard)}::smallint[],
      ${items.map((item) => item.pusher_id)}::bigint[],
      ${items.map((item) => item.queue_no)}::bigint[]
    ) d (shard, pusher_id, queue_no)
    where q.shard = d.shard and q.pusher_id = d.pusher_id and q.queue_no = d.queue_no`

/** Drops what pushers that are gone had left to tell. */
export async function dropOf(
  sql: Sql,
  gone: readonly { shard: number; pusher_id: number }[],
): Promise<void> {
  if (gone.length === 0) return
  const shards = gone.map((each) => each.shard)
  const ids = gone.map((each) => each.pusher_id)
  await sql`
    with letters as (
      delete from push_letters l
      using unnest(${shards}::smallint[], ${ids}::bigint[]) g (shard, pusher_id)
      where l.shard = g.shard and l.pusher_id = g.pusher_id
    )
    delete from push_queue q
    using unnest(${shards}::smallint[], ${ids}::bigint[]) g (shard, pusher_id)
    where q.shard = g.shard and q.pusher_id = g.pusher_id`
}

/** Drops what belongs to no pusher any more. */
export const dropStray = (sql: Sql) =>
  sql`
    delete from push_queue q
    where not exists (select from pushers p where p.pusher_id = q.pusher_id)`

/** Of each of these pushers, drops all but the newest items. */
export const trim = (sql: Sql, pusherIds: readonly number[], keep: number) =>
  sql`
    delete from push_queue q
    using (
      select p.shard, p.pusher_id, (
        select o.queue_no from push_queue o
        where o.shard = p.shard and o.pusher_id = p.pusher_id
        order by o.queue_no desc
        offset ${keep} limit 1
      ) as last
      from pushers p
      where p.pusher_id = any(${pusherIds as number[]}::bigint[])
    ) t
    where q.shard = t.shard and q.pusher_id = t.pusher_id and q.queue_no <= t.last`

/** The pushers by e-mail of which something has waited for long enough, and is of a room that may be told of. */
export const dueLetters = (
  sql: Sql,
  { now, delayMs, except }: { now: number; delayMs: number; except: readonly number[] },
  limit: number,
) =>
  sql<{ pusher_id: number }[]>`
    select p.pusher_id from pushers p
    where p.kind = 'email' and p.pusher_id <> all(${except as number[]}::bigint[])
      and exists (
        select from push_queue q
        left join push_letters l
          on l.shard = q.shard and l.pusher_id = q.pusher_id and l.room_nid = q.room_nid
        where q.shard = p.shard and q.pusher_id = p.pusher_id and q.queued_at <= ${now - delayMs}
          and (l.sent_at is null or l.sent_at + l.pause_ms <= ${now}))
    order by p.pusher_id
    limit ${limit}`

/** The pushers by e-mail that have more left to tell than that. */
export const longQueues = (sql: Sql, max: number) =>
  sql<{ pusher_id: number }[]>`
    select p.pusher_id from pushers p
    where p.kind = 'email' and exists (
      select from push_queue q where q.shard = p.shard and q.pusher_id = p.pusher_id
      offset ${max})`

export type LetterRow = { shard: number; pusherId: number; roomNid: number; pauseMs: number }

/** Notes which rooms a letter told of. */
export const noteLetters = (sql: Sql, rows: readonly LetterRow[], now: number) =>
  sql`
    insert into push_letters (shard, pusher_id, room_nid, sent_at, pause_ms)
    select shard, pusher_id, room_nid, ${now}::bigint, pause_ms from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.pusherId)}::bigint[],
      ${rows.map((row) => row.roomNid)}::bigint[],
      ${rows.map((row) => row.pauseMs)}::bigint[]
    ) t (shard, pusher_id, room_nid, pause_ms)
    on conflict (shard, pusher_id, room_nid) do update
      set sent_at = excluded.sent_at, pause_ms = excluded.pause_ms`

/** Forgets rooms of which letters may tell again for so long that it no longer counts. */
export const dropLetters = (sql: Sql, before: number) =>
  sql`delete from push_letters where sent_at + pause_ms < ${before}`
