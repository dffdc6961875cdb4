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
  mediaId: string
  contentType: string
  fileName: string | null
  bytes: number
  createdAt: number
  quarantinedBy: string | null
  protected: boolean
}

/** What a user has uploaded, newest first, and how much there is of it. */
export async function listOfUser(
  sql: Sql,
  userId: string,
  { from, limit }: { from: number; limit: number },
): Promise<{ total: number; bytes: number; media: MediaFacts[] }> {
  const [sums] = await sql<{ total: number; bytes: number }[]>`
    select count(*)::int as total, coalesce(sum(f.bytes), 0)::bigint as bytes
    from media m join media_files f on f.sha256 = m.sha256 where m.user_id = ${userId}`
  const media = await sql<MediaFacts[]>`
    select m.media_id as "mediaId", m.content_type as "contentType", m.file_name as "fileName",
      f.bytes, m.created_at as "createdAt", f.quarantined_by as "quarantinedBy", f.protected
    from media m join media_files f on f.sha256 = m.sha256
    where m.user_id = ${userId}
    order by m.created_at desc, m.media_id offset ${from} limit ${limit}`
  return { ...sums!, media }
}

/** Local media that is older or larger than stated, for deletion. */
export async function findLocal(
  sql: Sql,
  ownName: string,
  { before, largerThan, atMost }: { before: number; largerThan: number; atMost: number },
): Promise<MediaKey[]> {
  return sql<MediaKey[]>`
    select m.server_name as "serverName", m.media_id as "mediaId"
    from media m join media_files f on f.sha256 = m.sha256
    where m.server_name = ${ownName} and m.created_at < ${before} and f.bytes > ${largerThan}
      and not f.protected and f.quarantined_by is null
    limit ${atMost}`
}
