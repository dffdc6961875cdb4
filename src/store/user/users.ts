import { type Sql, booleanArray } from '#store/db.ts'
import { type OwnLimit, ownLimit } from './rate-limits.ts'

export type NewUser = {
  userId: string
  shard: number
  passwordHash: string | null
  admin: boolean
  guest: boolean
  /** JSON: the policies agreed to. */
  agreed: string | null
  createdAt: number
}

/** Adds accounts; answers those that were added. */
export const add = (sql: Sql, rows: readonly NewUser[]) =>
  sql<{ user_id: string }[]>`
    insert into users (user_id, shard, password_hash, admin, guest, agreed, created_at)
    select * from unnest(
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.passwordHash)}::text[],
      ${booleanArray(
        sql,
        rows.map((row) => row.admin),
      )}::boolean[],
      ${booleanArray(
        sql,
        rows.map((row) => row.guest),
      )}::boolean[],
      ${rows.map((row) => row.agreed)}::text[],
      ${rows.map((row) => row.createdAt)}::bigint[]
    )
    on conflict (user_id) do nothing
    returning user_id`

export type Account = {
  passwordHash: string | null
  admin: boolean
  guest: boolean
  deactivated: boolean
  locked: boolean
  suspended: boolean
}

export async function get(sql: Sql, userId: string): Promise<Account | undefined> {
  const [row] = await sql<(Omit<Account, 'passwordHash'> & { password_hash: string | null })[]>`
    select password_hash, admin, guest, deactivated, locked, suspended
    from users where user_id = ${userId}`
  if (!row) return undefined
  const { password_hash: passwordHash, ...account } = row
  return { passwordHash, ...account }
}

/** Whether there is, or was, such an account: its name is not given out again. */
export async function exists(sql: Sql, userId: string): Promise<boolean> {
  const rows = await sql`select from users where user_id = ${userId}`
  return rows.length > 0
}

/** Those of these accounts that are, or were, there. */
export async function existing(sql: Sql, userIds: readonly string[]): Promise<Set<string>> {
  const rows = await sql<{ user_id: string }[]>`
    select user_id from users where user_id = any(${userIds as string[]}::text[])`
  return new Set(rows.map((row) => row.user_id))
}

/** Of these accounts those that are there, and whether they are in use. */
export async function activeOf(
  sql: Sql,
  userIds: readonly string[],
): Promise<Map<string, boolean>> {
  const rows = await sql<{ user_id: string; active: boolean }[]>`
    select user_id, not deactivated as active from users
    where user_id = any(${userIds as string[]}::text[])`
  return new Map(rows.map((row) => [row.user_id, row.active]))
}

type Standing = {
  deactivated: boolean
  locked: boolean
  suspended: boolean
  hasDevice: boolean
  ownLimit: OwnLimit | undefined
}

/** What an application service must know of a user before it acts as them, perhaps on a device. */
export async function standing(
  sql: Sql,
  shard: number,
  userId: string,
  deviceId: string | undefined,
): Promise<Standing | undefined> {
  const [row] = await sql<
    (Omit<Standing, 'hasDevice' | 'ownLimit'> & {
      has_device: boolean
      per_second: number | null
      burst: number | null
    })[]
  >`
    select deactivated, locked, suspended, l.per_second, l.burst, exists (
      select from devices
      where shard = ${shard} and user_id = ${userId} and device_id = ${deviceId ?? null}
    ) as has_device
    from users left join rate_limits l using (user_id) where user_id = ${userId}`
  if (!row) return undefined
  const { has_device: hasDevice, per_second: perSecond, burst, ...rest } = row
  return { ...rest, hasDevice, ownLimit: ownLimit(perSecond, burst) }
}

/** What of an account may be changed; what is left out stays. A null password: no login by one. */
export type Change = {
  passwordHash?: string | null
  admin?: boolean
  guest?: boolean
  deactivated?: boolean
  erased?: boolean
  locked?: boolean
  suspended?: boolean
}

/** Changes accounts, each user named once; answers those that are there. */
export const change = (sql: Sql, rows: readonly ({ userId: string } & Change)[]) =>
  sql<{ user_id: string }[]>`
    update users u set
      password_hash = case when c.has_password then c.password_hash else u.password_hash end,
      admin = coalesce(c.admin, u.admin),
      guest = coalesce(c.guest, u.guest),
      deactivated = coalesce(c.deactivated, u.deactivated),
      erased = coalesce(c.erased, u.erased),
      locked = coalesce(c.locked, u.locked),
      suspended = coalesce(c.suspended, u.suspended)
    from json_to_recordset(${JSON.stringify(
      rows.map(({ userId, passwordHash, ...flags }) => ({
        user_id: userId,
        has_password: passwordHash !== undefined,
        password_hash: passwordHash ?? null,
        ...flags,
      })),
    )}::text::json) as c (
      user_id text, has_password boolean, password_hash text, admin boolean, guest boolean,
      deactivated boolean, erased boolean, locked boolean, suspended boolean
    )
    where u.user_id = c.user_id
    returning u.user_id`

/** Those whose events are shown redacted to who joins later. */
export const erased = (sql: Sql) => sql<{ user_id: string }[]>`
  select user_id from users where erased`
