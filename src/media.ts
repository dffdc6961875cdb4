import { join } from 'node:path'
import { DiskFiles } from '#engine/media/files.ts'
import { Media } from '#engine/media/media.ts'
import { Previews } from '#engine/media/previews.ts'
import { RemoteMedia } from '#engine/media/remote.ts'
import { Spool } from '#engine/media/spool.ts'
import { startSweepingMedia } from '#engine/media/sweep.ts'
import { MediaThread } from '#engine/media/thread.ts'
import { Thumbnails } from '#engine/media/thumbnails.ts'
import { Used } from '#engine/media/used.ts'
import type { FederationThread } from '#engine/federation/thread.ts'
import type { Config } from '#src/config.ts'
import type { Context } from '#src/context.ts'
import { readAuthorities } from '#src/federation-options.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'

export type MediaParts = {
  config: Config
  sql: Pool
  log: Log
  clock: () => number
  /** What is started is put here, to be stopped in reverse. */
  started: AsyncDisposableStack
  federation: Pick<FederationThread, 'download'>
}

const day = 24 * 3600 * 1000

/** The content repository, put together as the configuration says. */
export async function startMedia(
  parts: MediaParts,
): Promise<
  Pick<Context, 'media' | 'mediaFiles' | 'thumbnails' | 'previews'> & { worker: MediaThread }
> {
  const { config, sql, log, clock, started, federation } = parts
  const { media: options, url_previews: previewOptions, server_name: serverName } = config
  const directory = options.directory ?? join(config.data_dir, 'media')
  const files = new DiskFiles(join(directory, 'files'))
  const spool = new Spool(join(directory, 'incoming'))
  const stored = { serverName, sql, clock, files, spool }

  const used = new Used(sql, clock, (error) =>
    log.warn({ err: error }, 'Could not note which media is in use'),
  )
  started.defer(() => used.stop())
  const worker = new MediaThread({
    entry: new URL('./media-worker.ts', import.meta.url).href,
    onFault: (error) => log.error({ err: error }, 'the media worker failed'),
  })
  started.defer(() => worker.stop())
  const sweepOptions = {
    ...stored,
    keepFetchedMs: options.remote_keep_days * day,
    maxFetchedBytes: options.remote_keep_bytes,
  }
  started.defer(
    startSweepingMedia(sweepOptions, (error) =>
      log.warn({ err: error }, 'Could not drop media that nobody needs'),
    ),
  )

  const remote = new RemoteMedia({
    ...stored,
    download: config.federation.enabled ? (download) => federation.download(download) : undefined,
    maxBytes: options.max_remote_bytes,
  })
  const media = new Media({
    ...stored,
    remote,
    used,
    maxUploadBytes: options.max_upload_bytes,
    maxPending: options.max_pending_uploads,
    pendingMs: (options.pending_hours * day) / 24,
    openBefore: Date.parse(options.open_before),
  })
  started.defer(() => media.stop())
  const maxPixels = options.max_image_pixels
  const previews = new Previews({
    ...stored,
    worker,
    maxPixels,
    onFailure: (reason) => log.debug({ reason }, 'a page had no preview'),
    enabled: previewOptions.enabled,
    blockedRanges: previewOptions.blocked_ip_ranges,
    allowedRanges: previewOptions.allowed_ip_ranges,
    extraAuthorities: await readAuthorities(config),
  })
  const thumbnails = new Thumbnails({ ...stored, worker, maxPixels })
  return { media, mediaFiles: files, thumbnails, previews, worker }
}
