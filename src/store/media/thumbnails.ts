import type { Sql } from '#store/db.ts'

/** Which thumbnail of a file is meant. */
export type Wish = {
  width: number
  height: number
  method: 'crop' | 'scale'
  animated: boolean
}

export type Thumbnail = { sha256: Uint8Array; contentType: string; bytes: number }

export async function find(
  sql: Sql,
  source: Uint8Array,
  { width, height, method, animated }: Wish,
): Promise<Thumbnail | undefined> {
  const [row] = await sql<Thumbnail[]>`
    select t.thumbnail_sha256 as sha256, t.content_type as "contentType", f.bytes
    from media_thumbnails t join media_files f on f.sha256 = t.thumbnail_sha256
    where t.sha256 = ${source} and width = ${width} and height = ${height}
      and method = ${method} and animated = ${animated}`
  return row
}

/** Adds a thumbnail whose file is announced. */
export async function add(
  sql: Sql,
  source: Uint8Array,
  { width, height, method, animated }: Wish,
  { sha256, contentType }: Omit<Thumbnail, 'bytes'>,
): Promise<void> {
  await sql`
    insert into media_thumbnails (
      sha256, width, height, method, animated, content_type, thumbnail_sha256)
    values (${source}, ${width}, ${height}, ${method}, ${animated}, ${contentType}, ${sha256})
    on conflict (sha256, width, height, method, animated) do update
      set content_type = excluded.content_type, thumbnail_sha256 = excluded.thumbnail_sha256`
}
