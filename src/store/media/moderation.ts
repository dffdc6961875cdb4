import type { Sql } from '#store/db.ts'
import type { MediaKey } from '#store/media/media.ts'

/**
 * What administrators do with media. A quarantine is of the content: other copies of it are as hidden
 * as this one, and so is what is uploaded later.
 */

const serversOf = (keys: readonly MediaKey[]) => keys.map(({ serverName }) => serverName)
const idsOf = (keys: readonly MediaKey[]) => keys.map(({ mediaId }) => mediaId)

/** Hides media from everybody, unless it is protected. Answers how many of the named ones it hid. */
export async function quarantine(sql: Sql, keys: readonly MediaKey[], by: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    with named as (
      select m.sha256 from media m
      join unnest(${serversOf(keys)}::text[], ${idsOf(keys)}::text[]) as k (server_name, media_id)
        on m.server_name = k.server_name and m.media_id = k.media_id
    ), hidden as (
      update media_files set quarantined_by = ${by}
      where sha256 in (select sha256 from named) and not protected
      returning sha256
    )
    select count(*)::int as count from named join hidden on hidden.sha256 = named.sha256`
  return row!.count
}

/** Hides all that a user has uploaded, unless it is protected. Answers how many. */
export async function quarantineOfUser(sql: Sql, userId: string, by: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    with named as (select sha256 from media where user_id = ${userId}), hidden as (
      update media_files set quarantined_by = ${by}
      where sha256 in (select sha256 from named) and not protected
      returning sha256
    )
    select count(*)::int as count from named join hidden on hidden.sha256 = named.sha256`
  return row!.count
}

/** Shows media again. */
export async function release(sql: Sql, keys: readonly MediaKey[]): Promise<void> {
  await sql`
    update media_files set quarantined_by = null where sha256 in (
      select m.sha256 from media m
      join unnest(${serversOf(keys)}::text[], ${idsOf(keys)}::text[]) as k (server_name, media_id)
        on m.server_name = k.server_name and m.media_id = k.media_id)`
}

/** Says whether media may be quarantined. */
export async function protect(
  sql: Sql,
  { serverName, mediaId }: MediaKey,
  isProtected: boolean,
): Promise<boolean> {
  const rows = await sql`
    update media_files set protected = ${isProtected} where sha256 = (
      select sha256 from media where server_name = ${serverName} and media_id = ${mediaId})
    returning 1`
  return rows.length > 0
}

/** Deletes media; the bytes go with the next sweep unless something else holds the same ones. */
export async function remove(
  sql: Sql,
  keys: readonly MediaKey[],
  now: number,
): Promise<MediaKey[]> {
  return sql<MediaKey[]>`
    with gone as (
      delete from media m
      using unnest(${serversOf(keys)}::text[], ${idsOf(keys)}::text[]) as k (server_name, media_id)
      where m.server_name = k.server_name and m.media_id = k.media_id
      returning m.server_name, m.media_id, m.sha256
    ), freed as (
      update media_files f set look_at = greatest(f.look_at, ${now}::bigint)
      from gone where f.sha256 = gone.sha256
    )
    select server_name as "serverName", media_id as "mediaId" from gone`
}

export type MediaFacts = {
  serverName: string
  mediaId: string
  userId: string | null
  contentType: string
  fileName: string | null
  bytes: number
  createdAt: number
  usedAt: number
  quarantinedBy: string | null
  protected: boolean
}

/** By what the media of a user may be sorted. */
const columns = {
  media_id: 'media_id',
  upload_name: 'file_name',
  created_ts: 'created_at',
  last_access_ts: 'used_at',
  media_length: 'bytes',
  media_type: 'content_type',
  quarantined_by: 'quarantined_by',
  safe_from_quarantine: 'protected',
} as const
export type MediaOrder = keyof typeof columns
export const mediaOrders = Object.keys(columns) as MediaOrder[]

const facts = (sql: Sql) => sql`
  m.server_name as "serverName", m.media_id as "mediaId", m.user_id as "userId",
  m.content_type as "contentType", m.file_name as "fileName", f.bytes, m.created_at as "createdAt",
  m.used_at as "usedAt", f.quarantined_by as "quarantinedBy", f.protected`

/** What a user has uploaded, and how much there is of it. */
export async function listOfUser(
  sql: Sql,
  userId: string,
  page: { from: number; limit: number; order: MediaOrder; backwards: boolean },
): Promise<{ total: number; media: MediaFacts[] }> {
  const { from, limit, order, backwards } = page
  const [sums] = await sql<{ total: number }[]>`
    select count(*)::int as total
    from media m join media_files f on f.sha256 = m.sha256 where m.user_id = ${userId}`
  const media = await sql<MediaFacts[]>`
    select ${facts(sql)}
    from media m join media_files f on f.sha256 = m.sha256
    where m.user_id = ${userId}
    order by ${sql(columns[order])} ${backwards ? sql`desc` : sql`asc`} nulls last, m.media_id
    offset ${from} limit ${limit}`
  return { ...sums!, media }
}

/** What is known of one medium, hidden or not. */
export async function one(
  sql: Sql,
  { serverName, mediaId }: MediaKey,
): Promise<MediaFacts | undefined> {
  const [row] = await sql<MediaFacts[]>`
    select ${facts(sql)}
    from media m join media_files f on f.sha256 = m.sha256
    where m.server_name = ${serverName} and m.media_id = ${mediaId}`
  return row
}

/**
 * Local media that is older and larger than stated, for deletion; if so wanted without what is the
 * picture of a user or of a room.
 */
export async function findLocal(
  sql: Sql,
  ownName: string,
  wanted: { before: number; largerThan: number; keepProfiles: boolean; atMost: number },
): Promise<MediaKey[]> {
  const { before, largerThan, keepProfiles, atMost } = wanted
  return sql<MediaKey[]>`
    with shown as materialized (
      select value as uri from profile_fields where ${keepProfiles} and name = 'avatar_url'
      union all
      select substring(j.json from '"url":("mxc://[^"]+")')
      from rooms r
      join current_state c on c.shard = r.shard and c.room_nid = r.room_nid
        and c.generation = r.generation
      join event_json j on j.shard = c.shard and j.event_nid = c.event_nid
      where ${keepProfiles}
        and c.type_nid = (select type_nid from event_types where type = 'm.room.avatar')
    )
    select m.server_name as "serverName", m.media_id as "mediaId"
    from media m join media_files f on f.sha256 = m.sha256
    where m.server_name = ${ownName} and m.created_at < ${before} and f.bytes > ${largerThan}
      and not f.protected and f.quarantined_by is null
      and not exists (
        select from shown where uri = '"mxc://' || m.server_name || '/' || m.media_id || '"')
    limit ${atMost}`
}

export const usageOrders = ['media_length', 'media_count', 'user_id', 'displayname'] as const
export type UsageOrder = (typeof usageOrders)[number]

export type Usage = {
  user_id: string
  /** JSON. */
  displayname: string | null
  media_count: number
  media_length: number
}

/** How much each user has uploaded in a time. */
export async function usage(
  sql: Sql,
  page: {
    from: number
    limit: number
    order: UsageOrder
    backwards: boolean
    since: number
    until: number
    term: string | undefined
  },
): Promise<{ total: number; users: Usage[] }> {
  const { order, backwards, since, until } = page
  const term = page.term === undefined ? null : `%${page.term.replace(/[\\%_]/g, '\\$&')}%`
  const all = sql`
    select m.user_id, count(*)::int as media_count, sum(f.bytes)::bigint as media_length,
      (select p.value from profile_fields p
        where p.user_id = m.user_id and p.name = 'displayname' limit 1) as displayname
    from media m join media_files f on f.sha256 = m.sha256
    where m.user_id is not null and m.created_at between ${since} and ${until}
    group by m.user_id`
  const fitting = sql`
    select * from (${all}) a
    where ${term}::text is null or user_id ilike ${term} or displayname ilike ${term}`
  const [sums] = await sql<{ total: number }[]>`select count(*)::int as total from (${fitting}) a`
  const users = await sql<Usage[]>`
    select user_id, displayname, media_count, media_length from (${fitting}) a
    order by ${sql(order)} ${backwards ? sql`desc` : sql`asc`} nulls last, user_id
    offset ${page.from} limit ${page.limit}`
  return { ...sums!, users }
}
