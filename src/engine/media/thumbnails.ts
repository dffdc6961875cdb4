import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { MatrixError } from '#core/error.ts'
import type { Caller } from '#engine/worker/protocol.ts'
import type { MediaFiles } from '#engine/media/files.ts'
import type { StoredMedia } from '#engine/media/media.ts'
import { bytesOf, hexOf, place } from '#engine/media/place.ts'
import type { MediaWorkerCalls } from '#engine/media/protocol.ts'
import { sizeFor } from '#engine/media/sizes.ts'
import type { Spool } from '#engine/media/spool.ts'
import type { Pool } from '#store/db.ts'
import * as rows from '#store/media/thumbnails.ts'

export type ThumbnailsOptions = {
  serverName: string
  sql: Pool
  clock: () => number
  files: MediaFiles
  spool: Spool
  worker: Caller<MediaWorkerCalls>
  maxPixels: number
}

export type Thumbnail = { sha256: string; contentType: string; bytes: number }

type Refusal = 'no-image' | 'too-large'

/** What can be no image is not looked at again for this time. */
const keepRefusalMs = 600_000
/** A wish that only the original fulfils, whatever its size. */
const endless = 1_000_000

/** Thumbnails: made in the media worker when first wanted, once however many want it, and kept. */
export class Thumbnails {
  readonly #options: ThumbnailsOptions
  readonly #underWay = new Map<string, Promise<Thumbnail | Refusal>>()
  readonly #refused = new LRUCache<string, Refusal>({ ...atMost(10_000), ttl: keepRefusalMs })

  constructor(options: ThumbnailsOptions) {
    this.#options = options
  }

  /** Spec: client-server-api/#thumbnails */
  async get(media: StoredMedia, wish: rows.Wish): Promise<Thumbnail> {
    const size = sizeFor(wish) ?? { ...wish, method: 'scale', width: endless, height: endless }
    const key = `${media.sha256} ${size.method} ${size.width}x${size.height} ${size.animated}`
    let making = this.#underWay.get(key)
    if (!making) {
      making = this.#find(media, size).finally(() => this.#underWay.delete(key))
      this.#underWay.set(key, making)
    }
    const found = await making
    if (typeof found !== 'string') return found
    if (found === 'no-image')
      throw new MatrixError(400, 'M_UNKNOWN', 'There are no thumbnails of this kind of content')
    const status = media.serverName === this.#options.serverName ? 413 : 502
    throw new MatrixError(status, 'M_TOO_LARGE', 'The image is too large for a thumbnail')
  }

  async #find(media: StoredMedia, size: rows.Wish): Promise<Thumbnail | Refusal> {
    const refused = this.#refused.get(media.sha256)
    if (refused) return refused
    const { sql, files } = this.#options
    const known = await rows.find(sql, bytesOf(media.sha256), size)
    const sha256 = known && hexOf(known.sha256)
    if (sha256 !== undefined && (await files.has(sha256))) return { ...known!, sha256 }
    return this.#make(media, size)
  }

  async #make(media: StoredMedia, size: rows.Wish): Promise<Thumbnail | Refusal> {
    const { sql, files, spool, worker, maxPixels } = this.#options
    const target = await spool.newPath()
    const source = await files.local(media.sha256)
    try {
      const job = { ...size, source: source.path, target, maxPixels }
      const made = await worker.call('thumbnail', job)
      if (made.outcome === 'refused') {
        this.#refused.set(media.sha256, made.reason)
        return made.reason
      }
      const { contentType } = made
      const { sha256, bytes } = made.outcome === 'made' ? made : media
      if (made.outcome === 'made') await place(this.#options, { path: target, sha256, bytes })
      const row = { sha256: bytesOf(sha256), contentType }
      await rows.add(sql, bytesOf(media.sha256), size, row)
      return { sha256, contentType, bytes }
    } finally {
      await source.done()
      await spool.discard(target)
    }
  }
}
