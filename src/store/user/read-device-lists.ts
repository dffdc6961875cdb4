import type { Sql } from '#store/db.ts'
import type { Stretch } from './read-changes.ts'

export type RoomStretch = { shard: number; roomNid: number; low: number; high: number }

export type NewsRow = {
  user_id: string
  /** The list changed, or we began to share a room. */
  is_new: boolean
  /** We stopped sharing a room. */
  is_gone: boolean
  /** There is a room that both are joined to, or it is the user's own list. */
  is_shared: boolean
}

/**
 * Whose device lists are new to a user, or no business of theirs any more: users whose list changed
 * in a stretch of the users' streams, users who joined or left one of these rooms in its stretch, and
 * all members of a room that the user joined or left. Who shares a room is answered for now: what is
 * newer than the stretches is found again by the next look.
 */
export const news = (
  sql: Sql,
  userId: string,
  lists: readonly Stretch[],
  rooms: readonly RoomStretch[],
) =>
  sql<NewsRow[]>`
    with me as materialized (select user_nid from user_ids where user_id = ${userId}),
    stretch as materialized (
      select * from unnest(
        ${lists.map((each) => each.shard)}::smallint[],
        ${lists.map((each) => each.from)}::bigint[],
        ${lists.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    ),
    moved as materialized (
      select d.shard, d.room_nid, d.state_key_nid, k.state_key as user_id,
        coalesce(d.new_membership = 'join', false) as joined
      from unnest(
        ${rooms.map((each) => each.shard)}::smallint[],
        ${rooms.map((each) => each.roomNid)}::bigint[],
        ${rooms.map((each) => each.low)}::bigint[],
        ${rooms.map((each) => each.high)}::bigint[]
      ) w (shard, room_nid, low, high)
      join state_deltas d on d.shard = w.shard and d.room_nid = w.room_nid
        and d.position > w.low and d.position <= w.high
      left join state_keys k on k.state_key_nid = d.state_key_nid
      where d.state_key_nid = 0
        or coalesce(d.old_membership = 'join', false) <> coalesce(d.new_membership = 'join', false)
    ),
    -- Rooms of which every member is news, or gone.
    whole as materialized (
      select shard, room_nid, bool_or(state_key_nid = 0 or joined) as joined,
        bool_or(state_key_nid <> 0 and not joined) as departed
      from moved where state_key_nid = 0 or user_id = ${userId}
      group by shard, room_nid
    ),
    named as (
      select d.user_id, true as is_new, false as is_gone
      from stretch s join device_lists d
        on d.shard = s.shard and d.position > s.low and d.position <= s.high
      union all
      select d.user_id, true, false
      from stretch s join remote_device_lists d
        on d.shard = s.shard and d.position > s.low and d.position <= s.high
      union all
      select x.target_user, true, false
      from stretch s join key_signatures x
        on x.shard = s.shard and x.position > s.low and x.position <= s.high
      where x.signer = ${userId}
      union all
      select user_id, joined, not joined from moved where state_key_nid <> 0
      union all
      select u.user_id, x.joined, x.departed
      from whole x
      join rooms r on r.shard = x.shard and r.room_nid = x.room_nid
      join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
        and m.generation = r.generation and m.membership = 'join'
      join user_ids u on u.user_nid = m.user_nid
    )
    select n.user_id, n.is_new, n.is_gone, n.user_id = ${userId} or exists (
      select from user_ids u
      join memberships theirs on theirs.user_nid = u.user_nid and theirs.membership = 'join'
      join rooms r on r.shard = theirs.shard and r.room_nid = theirs.room_nid
        and r.generation = theirs.generation
      join memberships mine on mine.shard = r.shard and mine.room_nid = r.room_nid
        and mine.generation = r.generation and mine.user_nid = (select user_nid from me)
        and mine.membership = 'join'
      where u.user_id = n.user_id
    ) as is_shared
    from (
      select user_id, bool_or(is_new) as is_new, bool_or(is_gone) as is_gone
      from named group by user_id
    ) n`
