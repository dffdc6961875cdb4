import type { Sql } from '#store/db.ts'

export type ListedUser = {
  user_id: string
  admin: boolean
  guest: boolean
  deactivated: boolean
  erased: boolean
  locked: boolean
  suspended: boolean
  created_at: number
  /** JSON. */
  displayname: string | null
  avatar_url: string | null
  last_seen_at: number | null
}

/** By what a list may be sorted: the column, or what stands for it. */
const columns = {
  name: 'user_id',
  is_guest: 'guest',
  admin: 'admin',
  deactivated: 'deactivated',
  locked: 'locked',
  suspended: 'suspended',
  // All accounts are alike in these.
  user_type: 'user_id',
  shadow_banned: 'user_id',
  displayname: 'displayname',
  avatar_url: 'avatar_url',
  creation_ts: 'created_at',
  last_seen_ts: 'last_seen_at',
} as const
export type UserOrder = keyof typeof columns
export const userOrders = Object.keys(columns) as UserOrder[]

export type UserFilter = {
  /** Part of the user ID. */
  userId?: string | undefined
  /** Part of the local part, or of the display name. */
  name?: string | undefined
  admins?: boolean | undefined
  guests?: boolean | undefined
  /** Undefined: whether or not. */
  deactivated?: boolean | undefined
  locked?: boolean | undefined
}

export type UserPage = {
  order: UserOrder
  backwards: boolean
  from: number
  limit: number
}

const pattern = (text: string | undefined) =>
  text === undefined ? null : `%${text.replace(/[\\%_]/g, '\\$&').toLowerCase()}%`

const listed = (sql: Sql, { userId, name, ...filter }: UserFilter) => sql`
  select u.user_id, u.admin, u.guest, u.deactivated, u.erased, u.locked, u.suspended, u.created_at,
    (select value from profile_fields p
      where p.shard = u.shard and p.user_id = u.user_id and p.name = 'displayname') as displayname,
    (select value from profile_fields p
      where p.shard = u.shard and p.user_id = u.user_id and p.name = 'avatar_url') as avatar_url,
    (select max(last_seen_at) from devices d
      where d.shard = u.shard and d.user_id = u.user_id) as last_seen_at
  from users u
  where (${pattern(userId)}::text is null or u.user_id ilike ${pattern(userId)})
    and (${pattern(name)}::text is null
      or split_part(substr(u.user_id, 2), ':', 1) ilike ${pattern(name)}
      or exists (
        select from profile_fields p
        where p.shard = u.shard and p.user_id = u.user_id and p.name = 'displayname'
          and p.value ilike ${pattern(name)}
      ))
    and (${filter.admins ?? null}::boolean is null or u.admin = ${filter.admins ?? null})
    and (${filter.guests ?? null}::boolean is null or u.guest = ${filter.guests ?? null})
    and (${filter.deactivated ?? null}::boolean is null
      or u.deactivated = ${filter.deactivated ?? null})
    and (${filter.locked ?? null}::boolean is null or u.locked = ${filter.locked ?? null})`

/** A page of the accounts of this server. */
export const page = (sql: Sql, filter: UserFilter, { order, backwards, from, limit }: UserPage) =>
  sql<ListedUser[]>`
    select * from (${listed(sql, filter)}) as t
    order by ${sql(columns[order])} ${backwards ? sql`desc` : sql`asc`} nulls last, user_id
    limit ${limit} offset ${from}`

export async function count(sql: Sql, filter: UserFilter): Promise<number> {
  const [row] = await sql<{ total: number }[]>`
    select count(*)::integer as total from (${listed(sql, filter)}) as t`
  return row!.total
}

/** One account as lists show it. */
export async function one(sql: Sql, userId: string): Promise<ListedUser | undefined> {
  const [row] = await sql<ListedUser[]>`
    select * from (${listed(sql, {})}) as t where user_id = ${userId}`
  return row
}
