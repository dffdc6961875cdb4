import type { Sql } from '#store/db.ts'

/**
 * The files of media, by their SHA-256. The order of things keeps rows and files together whatever
 * dies in between: a file is announced here before it is put in its place, and only what was looked
 * at under the lock of its row is taken away.
 */

/** Announces a file, or that one which is there will be needed: it stays until then at least. */
export async function announce(
  sql: Sql,
  sha256: Uint8Array,
  bytes: number,
  until: number,
): Promise<void> {
  await sql`
    insert into media_files as f (sha256, bytes, look_at) values (${sha256}, ${bytes}, ${until})
    on conflict (sha256) do update set look_at = greatest(f.look_at, excluded.look_at)`
}

/** Files of which it is to be found out whether anything needs them, those due first. */
export async function toLookAt(sql: Sql, now: number, atMost: number): Promise<Uint8Array[]> {
  const rows = await sql<{ sha256: Uint8Array }[]>`
    select sha256 from media_files where look_at <= ${now} order by look_at limit ${atMost}`
  return rows.map(({ sha256 }) => sha256)
}

/**
 * Looks whether anything needs a file, in a transaction that goes on until the file is gone: true if
 * it has to go. Nobody can announce it meanwhile. What is quarantined keeps its row, so that it is
 * known when it is uploaded again.
 */
export async function letGo(sql: Sql, sha256: Uint8Array, now: number): Promise<boolean> {
  const [due] = await sql`
    select from media_files where sha256 = ${sha256} and look_at <= ${now} for update`
  if (!due) return false
  const [needed] = await sql`
    select from media where sha256 = ${sha256}
    union all select from media_thumbnails where thumbnail_sha256 = ${sha256} and sha256 <> ${sha256}
    limit 1`
  if (needed) {
    await sql`update media_files set look_at = null where sha256 = ${sha256}`
    return false
  }
  await sql`
    with gone as (
      delete from media_thumbnails where sha256 = ${sha256} returning thumbnail_sha256
    )
    update media_files set look_at = greatest(look_at, ${now})
    where sha256 in (select thumbnail_sha256 from gone) and sha256 <> ${sha256}`
  await sql`
    update media_files set look_at = null where sha256 = ${sha256} and quarantined_by is not null`
  await sql`delete from media_files where sha256 = ${sha256} and quarantined_by is null`
  return true
}
