import type { Sql } from '#store/db.ts'

/** What is known of one `mxc://` URI. */
export type Media = {
  serverName: string
  mediaId: string
  userId: string | null
  /** Null: created, and not yet uploaded. */
  sha256: Uint8Array | null
  bytes: number
  contentType: string
  fileName: string | null
  createdAt: number
  expiresAt: number | null
  quarantined: boolean
}

export type MediaKey = { serverName: string; mediaId: string }

export async function find(
  sql: Sql,
  serverName: string,
  mediaId: string,
): Promise<Media | undefined> {
  const [row] = await sql<Media[]>`
    select m.server_name as "serverName", m.media_id as "mediaId", m.user_id as "userId", m.sha256,
      coalesce(f.bytes, 0) as bytes, m.content_type as "contentType", m.file_name as "fileName",
      m.created_at as "createdAt", m.expires_at as "expiresAt",
      f.quarantined_by is not null as quarantined
    from media m left join media_files f on f.sha256 = m.sha256
    where m.server_name = ${serverName} and m.media_id = ${mediaId}`
  return row
}

export type NewMedia = MediaKey & {
  userId: string | null
  sha256: Uint8Array
  contentType: string
  fileName: string | null
  now: number
  /** When it goes by itself. */
  expiresAt?: number
}

/** Adds media whose file is announced; of what was fetched again, the newer one stands. */
export async function add(sql: Sql, media: NewMedia): Promise<void> {
  const { serverName, mediaId, userId, sha256, contentType, fileName, now } = media
  await sql`
    insert into media (
      server_name, media_id, user_id, sha256, content_type, file_name, created_at, expires_at, used_at)
    values (${serverName}, ${mediaId}, ${userId}, ${sha256}, ${contentType}, ${fileName}, ${now},
      ${media.expiresAt ?? null}, ${now})
    on conflict (server_name, media_id) do update set sha256 = excluded.sha256,
      content_type = excluded.content_type, file_name = excluded.file_name,
      created_at = excluded.created_at, used_at = excluded.used_at`
}

/** Any number will do that nothing else in the database locks. */
const pendingLock = 0x4d45

/** Creates an ID to upload to later, in a transaction; false if the user has too many of them. */
export async function create(
  sql: Sql,
  { serverName, mediaId }: MediaKey,
  {
    userId,
    now,
    expiresAt,
    atMost,
  }: {
    userId: string
    now: number
    expiresAt: number
    atMost: number
  },
): Promise<boolean> {
  // Two at once would count the same ones.
  await sql`select pg_advisory_xact_lock(${pendingLock}, hashtext(${userId}))`
  const rows = await sql`
    insert into media (
      server_name, media_id, user_id, content_type, created_at, expires_at, used_at)
    select ${serverName}, ${mediaId}, ${userId}, '', ${now}::bigint, ${expiresAt}::bigint, ${now}::bigint
    where (
      select count(*) from media
      where user_id = ${userId} and sha256 is null and expires_at > ${now}
    ) < ${atMost}
    returning 1`
  return rows.length > 0
}

/** Gives a created ID its content; false if it has some, or its time is over. */
export async function complete(sql: Sql, media: NewMedia): Promise<boolean> {
  const { serverName, mediaId, userId, sha256, contentType, fileName, now } = media
  const rows = await sql`
    update media set sha256 = ${sha256}, content_type = ${contentType}, file_name = ${fileName},
      created_at = ${now}, used_at = ${now}, expires_at = null
    where server_name = ${serverName} and media_id = ${mediaId} and user_id = ${userId}
      and sha256 is null and expires_at > ${now}
    returning 1`
  return rows.length > 0
}

/** Notes that media was asked for. */
export async function touch(sql: Sql, keys: readonly MediaKey[], now: number): Promise<void> {
  await sql`
    update media m set used_at = ${now}
    from unnest(${keys.map(({ serverName }) => serverName)}::text[],
      ${keys.map(({ mediaId }) => mediaId)}::text[]) as k (server_name, media_id)
    where m.server_name = k.server_name and m.media_id = k.media_id`
}

/** Drops IDs whose time is over, with their content if they have some. Answers how many. */
export async function dropExpired(sql: Sql, now: number, atMost: number): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    with gone as (
      delete from media where (server_name, media_id) in (
        select server_name, media_id from media where expires_at <= ${now} limit ${atMost})
      returning sha256
    ), freed as (
      update media_files f set look_at = greatest(f.look_at, ${now}::bigint)
      from gone where f.sha256 = gone.sha256
    )
    select count(*)::int as count from gone`
  return row!.count
}

/** Forgets media of other servers that nobody asked for since; it can be had again. */
export async function dropUnused(
  sql: Sql,
  ownName: string,
  { before, now, atMost }: { before: number; now: number; atMost: number },
): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    with gone as (
      delete from media where (server_name, media_id) in (
        select server_name, media_id from media
        where user_id is null and used_at < ${before} and server_name <> ${ownName}
        order by used_at limit ${atMost})
      returning sha256
    ), freed as (
      update media_files f set look_at = greatest(f.look_at, ${now}::bigint)
      from gone where f.sha256 = gone.sha256
    )
    select count(*)::int as count from gone`
  return row!.count
}

/** How many bytes are kept of other servers. */
export async function fetchedBytes(sql: Sql, ownName: string): Promise<number> {
  const [row] = await sql<{ bytes: number }[]>`
    select coalesce(sum(f.bytes), 0)::bigint as bytes
    from media m join media_files f on f.sha256 = m.sha256
    where m.user_id is null and m.server_name <> ${ownName}`
  return row!.bytes
}

/** Until which time of use media of other servers has to go so that so many bytes are freed. */
export async function usedBefore(
  sql: Sql,
  ownName: string,
  bytes: number,
): Promise<number | undefined> {
  const [row] = await sql<{ usedAt: number }[]>`
    select used_at as "usedAt" from (
      select m.used_at, sum(f.bytes) over (order by m.used_at, m.server_name, m.media_id) as total
      from media m join media_files f on f.sha256 = m.sha256
      where m.user_id is null and m.server_name <> ${ownName}
    ) as running where total >= ${bytes} order by total limit 1`
  return row && row.usedAt + 1
}
