import { type Pool, type Sql } from '#store/db.ts'
import { eventFlags } from '#store/room/batch.ts'
import { inStretch } from '#store/stretch.ts'
import { type Stretch, move, stretchesOf } from '#store/two-cursors.ts'
import { type Notice, type Queued, putCountsIn, putCountsOf, putNotices } from './queue.ts'

const table = 'push_cursors'

/** An event that became visible, without its text: most of them are of no interest. */
export type Fresh = {
  shard: number
  room_nid: number
  event_nid: number
  position: number
  sender: string
  push_flags: number
  /** Local users whom it names. */
  mentioned: string[] | null
}

const { rejected, softFailed, outlier } = eventFlags

/** The live events of some stretches, in their order. */
export const fresh = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<Fresh[]>`
    select e.shard, e.room_nid, e.event_nid, e.position, u.user_id as sender, e.push_flags, (
      select array_agg(n.user_id)
      from mentions m join user_ids n on n.user_nid = m.user_nid
      where m.shard = e.shard and m.room_nid = e.room_nid and m.position = e.position
    ) as mentioned
    from ${stretchesOf(sql, stretches)}
    cross join lateral ${inStretch(sql, 'events')} e
    join user_ids u on u.user_nid = e.sender_nid
    where e.flags & ${rejected | softFailed | outlier} = 0
    order by e.shard, e.position`

/** Invites of users with pushers in some stretches, in their order. */
export const invites = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<{ shard: number; room_nid: number; event_nid: number; position: number; user_id: string }[]>`
    select d.shard, d.room_nid, d.new_event_nid as event_nid, d.position, k.state_key as user_id
    from ${stretchesOf(sql, stretches)}
    cross join lateral ${inStretch(sql, 'state_deltas')} d
    join state_keys k on k.state_key_nid = d.state_key_nid
    where d.new_membership = 'invite' and d.old_membership is distinct from 'invite'
      and d.new_event_nid is not null
      and exists (select from pushers p where p.user_id = k.state_key)
    order by d.shard, d.position`

/** The users with pushers who are joined to some rooms. */
export const members = (sql: Sql, rooms: readonly { shard: number; room_nid: number }[]) =>
  sql<{ room_nid: number; user_id: string }[]>`
    select r.room_nid, u.user_id
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.room_nid)}::bigint[]
    ) w (shard, room_nid)
    join rooms r on r.shard = w.shard and r.room_nid = w.room_nid
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    -- In a case, so that it is hashed once: else two rows are looked up for each remote member.
    where case when m.membership = 'join' then m.user_nid in (
      select o.user_nid from pushers p join user_ids o on o.user_id = p.user_id
    ) else false end`

export type MemberMove = {
  room_nid: number
  position: number
  /** Null: the whole state was replaced. */
  user_id: string | null
  old_membership: string | null
  new_membership: string | null
}

/** What became of the members of some rooms after a position, oldest first: those with pushers alone. */
export const memberMoves = (
  sql: Sql,
  rooms: readonly { shard: number; room_nid: number; low: number }[],
) =>
  sql<MemberMove[]>`
    select d.room_nid, d.position, k.state_key as user_id, d.old_membership, d.new_membership
    from unnest(
      ${rooms.map((each) => each.shard)}::smallint[],
      ${rooms.map((each) => each.room_nid)}::bigint[],
      ${rooms.map((each) => each.low)}::bigint[]
    ) w (shard, room_nid, low)
    join state_deltas d on d.shard = w.shard and d.room_nid = w.room_nid and d.position > w.low
    left join state_keys k on k.state_key_nid = d.state_key_nid
    where d.state_key_nid = 0
      or ((d.old_membership is not null or d.new_membership is not null)
        and exists (select from pushers p where p.user_id = k.state_key))
    order by d.position`

export type Told = {
  event_nid: number
  room_id: string
  joined_members: number
  push_flags: number
  json: string
}

/** Events whole, with what rules ask of their rooms. */
export const texts = (sql: Sql, shards: readonly number[], nids: readonly number[]) =>
  sql<Told[]>`
    select e.event_nid, r.room_id, r.joined_members, e.push_flags, j.json
    from unnest(${shards as number[]}::smallint[], ${nids as number[]}::bigint[]) w (shard, nid)
    join events e on e.shard = w.shard and e.event_nid = w.nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    join rooms r on r.shard = e.shard and r.room_nid = e.room_nid`

export type Wishes = { user_id: string; type: string; position: number; content: string }

/** The push rules of some users, and whom they ignore, where that is newer than what is known. */
export const wishes = (
  sql: Sql,
  wanted: readonly { shard: number; userId: string; known: number }[],
) =>
  sql<Wishes[]>`
    select a.user_id, a.type, a.position, a.content
    from unnest(
      ${wanted.map((each) => each.shard)}::smallint[],
      ${wanted.map((each) => each.userId)}::text[],
      ${wanted.map((each) => each.known)}::bigint[]
    ) w (shard, user_id, known)
    join account_data a on a.shard = w.shard and a.user_id = w.user_id collate "C"
      and a.room_id = '' and a.type in ('m.push_rules', 'm.ignored_user_list')
    where a.position > w.known`

/** The rooms of users for whom pushers were set up in some stretches of user shards; null if one has none. */
export const roomsOfNew = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<{ room_nid: number | null }[]>`
    select distinct m.room_nid
    from ${stretchesOf(sql, stretches)}
    join pushers p on p.shard = s.shard and p.position > s.low and p.position <= s.high
    left join user_ids u on u.user_id = p.user_id
    left join memberships m on m.user_nid = u.user_nid and m.membership = 'join'`

/** Whether anybody has a pusher. */
export async function anyPusher(sql: Sql): Promise<boolean> {
  const [row] = await sql<{ is: boolean }[]>`select exists (select from pushers) as is`
  return row!.is
}

/** Moves the cursors where nothing is to be queued. */
export const skip = (
  pool: Pool,
  rooms: readonly Stretch[],
  users: readonly Stretch[],
): Promise<unknown> =>
  pool.begin((sql) =>
    Promise.all([
      rooms.length > 0 ? move(sql, table, 'rooms', rooms) : undefined,
      users.length > 0 ? move(sql, table, 'users', users) : undefined,
    ]),
  )

/** Queues what some stretches of room shards have for pushers, and moves the cursors. */
export const writeRooms = (
  pool: Pool,
  stretches: readonly Stretch[],
  found: { notices: readonly Notice[]; senders: readonly string[] },
  now: number,
): Promise<Queued[]> =>
  pool.begin(async (sql) => {
    const { notices, senders } = found
    // Counts first: an event says how many are unread, too.
    const [, counted, told] = await Promise.all([
      move(sql, table, 'rooms', stretches),
      senders.length > 0 ? putCountsOf(sql, senders, now) : [],
      notices.length > 0 ? putNotices(sql, notices, now) : [],
    ])
    return [...counted, ...told]
  })

/** The same of what was read by some stretches of user shards. */
export const writeReads = (
  pool: Pool,
  stretches: readonly Stretch[],
  now: number,
): Promise<Queued[]> =>
  pool.begin(async (sql) => {
    const [, counted] = await Promise.all([
      move(sql, table, 'users', stretches),
      putCountsIn(sql, stretches, now),
    ])
    return [...counted]
  })
