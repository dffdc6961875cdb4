import type { Sql } from '#store/db.ts'

export type PushKey = { appId: string; pushkey: string }
type Owned = PushKey & { shard: number; userId: string }

export type NewPusher = Owned & {
  position: number
  createdAt: number
  kind: 'http' | 'email'
  /** The origin of its address; '' for e-mail. */
  gateway: string
  /** '' if it is of no device. */
  deviceId: string
  appName: string
  deviceName: string
  profileTag: string | null
  lang: string
  data: string
  stopToken: string | null
}

export type Pusher = {
  app_id: string
  pushkey: string
  kind: 'http' | 'email'
  app_display_name: string
  device_display_name: string
  profile_tag: string | null
  lang: string
  data: string
}

export const list = (sql: Sql, userId: string) =>
  sql<Pusher[]>`
    select app_id, pushkey, kind, app_display_name, device_display_name, profile_tag, lang, data
    from pushers
    where user_id = ${userId}
    order by pusher_id`

/** How many pushers some users have, but for these. */
export const counts = (sql: Sql, keys: readonly Owned[]) =>
  sql<{ user_id: string; count: number }[]>`
    select p.user_id, count(*)::integer as count
    from pushers p
    where p.user_id = any(${keys.map((key) => key.userId)}::text[])
      and not exists (
        select from unnest(
          ${keys.map((key) => key.userId)}::text[],
          ${keys.map((key) => key.appId)}::text[],
          ${keys.map((key) => key.pushkey)}::text[]
        ) k (user_id, app_id, pushkey)
        where k.user_id = p.user_id and k.app_id = p.app_id and k.pushkey = p.pushkey)
    group by p.user_id`

/** Holds these keys to the end of the transaction: nobody else decides meanwhile whose they are. */
export const lock = (sql: Sql, keys: readonly PushKey[]) =>
  sql`
    select pg_advisory_xact_lock(k.hash)
    from (
      select distinct hashtextextended(app_id || ' ' || pushkey, 9) as hash
      from unnest(
        ${keys.map((key) => key.appId)}::text[],
        ${keys.map((key) => key.pushkey)}::text[]
      ) t (app_id, pushkey)
      order by 1
    ) k`

export type Gone = { shard: number; pusher_id: number }

/** Takes keys from all users but those who have them now. */
export const takeOver = (sql: Sql, keys: readonly Owned[]) =>
  sql<Gone[]>`
    delete from pushers p
    using unnest(
      ${keys.map((key) => key.appId)}::text[],
      ${keys.map((key) => key.pushkey)}::text[],
      ${keys.map((key) => key.userId)}::text[]
    ) k (app_id, pushkey, user_id)
    where p.app_id = k.app_id and p.pushkey = k.pushkey and p.user_id <> k.user_id
    returning p.shard, p.pusher_id`

/** Makes or changes pushers, each named once; one that was there keeps its position. */
export const put = (sql: Sql, rows: readonly NewPusher[]) =>
  sql`
    insert into pushers as p (
      shard, user_id, app_id, pushkey, position, created_at, kind, gateway, device_id,
      app_display_name, device_display_name, profile_tag, lang, data, stop_token
    )
    select * from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.userId)}::text[],
      ${rows.map((row) => row.appId)}::text[],
      ${rows.map((row) => row.pushkey)}::text[],
      ${rows.map((row) => row.position)}::bigint[],
      ${rows.map((row) => row.createdAt)}::bigint[],
      ${rows.map((row) => row.kind)}::text[],
      ${rows.map((row) => row.gateway)}::text[],
      ${rows.map((row) => row.deviceId)}::text[],
      ${rows.map((row) => row.appName)}::text[],
      ${rows.map((row) => row.deviceName)}::text[],
      ${rows.map((row) => row.profileTag)}::text[],
      ${rows.map((row) => row.lang)}::text[],
      ${rows.map((row) => row.data)}::text[],
      ${rows.map((row) => row.stopToken)}::text[]
    )
    on conflict (app_id, pushkey, user_id) do update
      set kind = excluded.kind, gateway = excluded.gateway,
        device_id = excluded.device_id, app_display_name = excluded.app_display_name,
        device_display_name = excluded.device_display_name, profile_tag = excluded.profile_tag,
        lang = excluded.lang, data = excluded.data,
        stop_token = case when excluded.stop_token is null then null
          else coalesce(p.stop_token, excluded.stop_token) end`

export const remove = (sql: Sql, keys: readonly Owned[]) =>
  sql<Gone[]>`
    delete from pushers p
    using unnest(
      ${keys.map((key) => key.appId)}::text[],
      ${keys.map((key) => key.pushkey)}::text[],
      ${keys.map((key) => key.userId)}::text[]
    ) k (app_id, pushkey, user_id)
    where p.app_id = k.app_id and p.pushkey = k.pushkey and p.user_id = k.user_id
    returning p.shard, p.pusher_id`

/** Removes what devices that are gone have set up. */
export const removeOf = (sql: Sql, devices: readonly { userId: string; deviceId: string }[]) =>
  sql<Gone[]>`
    delete from pushers p
    using unnest(
      ${devices.map((device) => device.userId)}::text[],
      ${devices.map((device) => device.deviceId)}::text[]
    ) k (user_id, device_id)
    where p.user_id = k.user_id and p.device_id = k.device_id
    returning p.shard, p.pusher_id`

export const removeAll = (sql: Sql, userIds: readonly string[]) =>
  sql<Gone[]>`
    delete from pushers where user_id = any(${userIds as string[]}::text[])
    returning shard, pusher_id`

/** Whose pusher by e-mail somebody with its token may end. */
export async function byStopToken(
  sql: Sql,
  pusherId: number,
  token: string,
): Promise<{ user_id: string; app_id: string; pushkey: string } | undefined> {
  const [row] = await sql<{ user_id: string; app_id: string; pushkey: string }[]>`
    select user_id, app_id, pushkey from pushers
    where pusher_id = ${pusherId} and stop_token = ${token}`
  return row
}

/** Notes which counts were told. */
export const noteTold = (sql: Sql, rows: readonly { pusherId: number; unread: number }[]) =>
  sql`
    update pushers p set told_unread = t.unread
    from unnest(
      ${rows.map((row) => row.pusherId)}::bigint[],
      ${rows.map((row) => row.unread)}::integer[]
    ) t (pusher_id, unread)
    where p.pusher_id = t.pusher_id and p.told_unread <> t.unread`
