import type { MediaFiles } from '#engine/media/files.ts'
import { hexOf } from '#engine/media/place.ts'
import type { Spool } from '#engine/media/spool.ts'
import type { Pool } from '#store/db.ts'
import * as fileRows from '#store/media/files.ts'
import * as mediaRows from '#store/media/media.ts'
import * as previewRows from '#store/media/url-previews.ts'

export type SweepOptions = {
  serverName: string
  sql: Pool
  clock: () => number
  files: MediaFiles
  spool: Spool
  /** How long media of other servers is kept that nobody asks for; 0: for ever. */
  keepFetchedMs: number
  /** What of it is kept at most; 0: all. */
  maxFetchedBytes: number
}

const everyMs = 3600 * 1000
const firstMs = 60_000
const atOnce = 500
const keepPreviewsMs = 24 * 3600 * 1000

/** Drops what nobody will ask for, and then the files that nothing needs, in small steps. */
export async function sweepMedia(options: SweepOptions): Promise<void> {
  const { serverName, sql, clock, spool, keepFetchedMs, maxFetchedBytes } = options
  const now = clock()
  await spool.clean(Date.now())
  await repeat(() => mediaRows.dropExpired(sql, now, atOnce))
  await repeat(() => previewRows.dropOld(sql, now - keepPreviewsMs, atOnce))
  const dropFetched = (before: number) =>
    repeat(() => mediaRows.dropUnused(sql, serverName, { before, now, atMost: atOnce }))
  if (keepFetchedMs > 0) await dropFetched(now - keepFetchedMs)
  if (maxFetchedBytes > 0) {
    const over = (await mediaRows.fetchedBytes(sql, serverName)) - maxFetchedBytes
    const before = over > 0 ? await mediaRows.usedBefore(sql, serverName, over) : undefined
    if (before !== undefined) await dropFetched(before)
  }
  await repeat(() => dropFiles(options, now))
}

async function repeat(step: () => Promise<number>): Promise<void> {
  while ((await step()) >= atOnce);
}

/** Takes away files that nothing needs; each under the lock of its row, so that nobody begins to. */
async function dropFiles({ sql, files }: SweepOptions, now: number): Promise<number> {
  const due = await fileRows.toLookAt(sql, now, atOnce)
  for (const sha256 of due)
    await sql.begin(async (tx) => {
      if (await fileRows.letGo(tx, sha256, now)) await files.delete(hexOf(sha256))
    })
  return due.length
}

/** Sweeps every hour, and cleans up at once after a process that was killed; answers what ends it. */
export function startSweepingMedia(
  options: SweepOptions,
  onFault: (error: unknown) => void,
): () => Promise<void> {
  let sweeping = options.spool.clean(Date.now()).catch(onFault)
  const sweep = () => {
    sweeping = sweeping.then(() => sweepMedia(options)).catch(onFault)
  }
  const first = setTimeout(sweep, firstMs)
  const timer = setInterval(sweep, everyMs)
  first.unref()
  timer.unref()
  return () => {
    clearTimeout(first)
    clearInterval(timer)
    return sweeping
  }
}
