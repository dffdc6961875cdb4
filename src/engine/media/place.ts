import type { MediaFiles } from '#engine/media/files.ts'
import type { Spooled } from '#engine/media/spool.ts'
import type { Pool } from '#store/db.ts'
import * as fileRows from '#store/media/files.ts'

/** Between announcing a file and the row that needs it. */
const announcedMs = 3600 * 1000

/** Gives a finished file its place: announced before, so that a row is there whatever happens then. */
export async function place(
  { sql, clock, files }: { sql: Pool; clock: () => number; files: MediaFiles },
  { sha256, bytes, path }: Spooled,
): Promise<void> {
  await fileRows.announce(sql, bytesOf(sha256), bytes, clock() + announcedMs)
  await files.put(sha256, path)
}

/** Hashes are bytes in the database, and hexadecimal digits where they name files. */
export const hexOf = (sha256: Uint8Array): string => Buffer.from(sha256).toString('hex')
export const bytesOf = (sha256: string): Buffer => Buffer.from(sha256, 'hex')
