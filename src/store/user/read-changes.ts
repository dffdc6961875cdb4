import type { Sql } from '#store/db.ts'
import { inStretch } from '#store/stretch.ts'

/** A stretch of one user shard's streams: after `from`, up to and including `to`. */
export type Stretch = { shard: number; from: number; to: number }

export type Changed = {
  /** `list`: a device list; `read`: receipts that everybody may see; the others are the user's own. */
  kind:
    'account_data' | 'forgotten_rooms' | 'to_device' | 'receipts' | 'signatures' | 'list' | 'read'
  shard: number
  /** Null of `read`. */
  user_id: string | null
  /** The last one. */
  position: number
  /** Of `list` those that its user is joined to; of `read` the one. */
  room_nids: number[] | null
}

/** What lies in these stretches, and for whom. */
export const changed = (sql: Sql, stretches: readonly Stretch[]) =>
  sql<Changed[]>`
    with stretch as materialized (
      select * from unnest(
        ${stretches.map((each) => each.shard)}::smallint[],
        ${stretches.map((each) => each.from)}::bigint[],
        ${stretches.map((each) => each.to)}::bigint[]
      ) as t (shard, low, high)
    ),
    own as (
      select 'account_data' as kind, a.shard, a.user_id, a.position
      from stretch s cross join lateral ${inStretch(sql, 'account_data')} a
      union all
      select 'forgotten_rooms', f.shard, f.user_id, f.position
      from stretch s cross join lateral ${inStretch(sql, 'forgotten_rooms')} f
      union all
      select 'to_device', d.shard, d.user_id, d.position
      from stretch s cross join lateral ${inStretch(sql, 'to_device')} d
      union all
      select 'receipts', c.shard, c.user_id, c.position
      from stretch s cross join lateral ${inStretch(sql, 'receipts')} c
      union all
      select 'signatures', k.shard, k.signer, k.position
      from stretch s cross join lateral ${inStretch(sql, 'key_signatures')} k
    ),
    lists as (
      select d.shard, d.user_id, d.position from stretch s cross join lateral ${inStretch(sql, 'device_lists')} d
      union all
      select d.shard, d.user_id, d.position from stretch s cross join lateral ${inStretch(sql, 'remote_device_lists')} d
    ),
    read as (
      select c.room_id, c.shard, max(c.position) as position
      from stretch s cross join lateral ${inStretch(sql, 'receipts')} c
      where c.type = 'm.read'
      group by c.room_id, c.shard
    )
    select kind, shard, user_id, max(position) as position, null::bigint[] as room_nids
    from own group by kind, shard, user_id
    union all
    select 'list', l.shard, l.user_id, l.position, array(
      select m.room_nid from user_ids u
      join memberships m on m.user_nid = u.user_nid and m.membership = 'join'
      where u.user_id = l.user_id
    )
    from lists l
    union all
    select 'read', r.shard, null, r.position, array[m.room_nid]
    from read r join rooms m on m.room_id = r.room_id`

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
