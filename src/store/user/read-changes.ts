import type { Sql } from '#store/db.ts'

/** A stretch of one user shard's streams: after `from`, up to and including `to`. */
export type Stretch = { shard: number; from: number; to: number }

/** The users for whom something lies in these stretches. */
export const changedUsers = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<{ user_id: string }[]>`
    with stretch as materialized (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from)}::bigint[],
        ${stretches.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    )
    select a.user_id
    from stretch s join account_data a
      on a.shard = s.shard and a.position > s.low and a.position <= s.high
    union
    select f.user_id
    from stretch s join forgotten_rooms f
      on f.shard = s.shard and f.position > s.low and f.position <= s.high
    union
    select d.user_id
    from stretch s join to_device d
      on d.shard = s.shard and d.position > s.low and d.position <= s.high
    union
    select c.user_id
    from stretch s join receipts c
      on c.shard = s.shard and c.position > s.low and c.position <= s.high
    union
    select k.signer
    from stretch s join key_signatures k
      on k.shard = s.shard and k.position > s.low and k.position <= s.high`

export type ChangedList = { shard: number; user_id: string; position: number; room_nids: number[] }

/** Device lists that changed in these stretches, with the rooms that their users are joined to. */
export const changedLists = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<ChangedList[]>`
    with stretch as materialized (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from)}::bigint[],
        ${stretches.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    ),
    changed as (
      select d.shard, d.user_id, d.position from stretch s join device_lists d
        on d.shard = s.shard and d.position > s.low and d.position <= s.high
      union all
      select d.shard, d.user_id, d.position from stretch s join remote_device_lists d
        on d.shard = s.shard and d.position > s.low and d.position <= s.high
    )
    select c.shard, c.user_id, c.position, array(
      select m.room_nid from user_ids u
      join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
      where u.user_id = c.user_id
    ) as room_nids
    from changed c`

export type AccountDataRow = { room_id: string; type: string; content: string; position: number }

/** A user's account data after a position; whom they ignore, and whether they want invites, whenever it was set. */
export const accountData = (sql: Sql, shard: number, userId: string, low: number, high: number) =>
  sql<AccountDataRow[]>`
    select room_id, type, content, position
    from account_data
    where shard = ${shard} and user_id = ${userId} and position > ${low} and position <= ${high}
    union all
    select room_id, type, content, position
    from account_data
    where shard = ${shard} and user_id = ${userId} and room_id = ''
      and type in ('m.ignored_user_list', 'm.invite_permission_config') and (position <= ${low} or position > ${high})
    order by position`

/** The rooms that a user forgot, each with the membership event that they forgot it at. */
export const forgotten = (sql: Sql, shard: number, userId: string, roomIds: readonly string[]) =>
  sql<{ room_id: string; member_event: string }[]>`
    select room_id, member_event
    from forgotten_rooms
    where shard = ${shard} and user_id = ${userId} and room_id = any(${roomIds as string[]}::text[])`
