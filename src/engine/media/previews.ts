import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { MatrixError, invalidParam, unrecognized } from '#core/error.ts'
import type { Caller } from '#engine/worker/protocol.ts'
import type { MediaFiles } from '#engine/media/files.ts'
import { mxcOf, newMediaId } from '#engine/media/keys.ts'
import { bytesOf, place } from '#engine/media/place.ts'
import { isWebAddress } from '#engine/media/preview/web.ts'
import type { MediaWorkerCalls, Picture } from '#engine/media/protocol.ts'
import type { Spool } from '#engine/media/spool.ts'
import type { Pool } from '#store/db.ts'
import * as mediaRows from '#store/media/media.ts'
import * as rows from '#store/media/url-previews.ts'

export type PreviewsOptions = {
  serverName: string
  sql: Pool
  clock: () => number
  files: MediaFiles
  spool: Spool
  worker: Caller<MediaWorkerCalls>
  onFailure: (reason: string) => void
  enabled: boolean
  maxPixels: number
  blockedRanges: readonly string[]
  allowedRanges: readonly string[]
  extraAuthorities: readonly string[]
}

const hour = 3600 * 1000
/** How long a preview is given without looking again. */
const keepMs = hour
/** How long its picture can be had: longer than any client shows a preview without asking anew. */
const keepPictureMs = 7 * 24 * hour
const keepFailureMs = 60_000
const maxUrl = 2048

/**
 * What a client can show of a page that a message names. Off unless the operator turns it on, since
 * it has this server fetch whatever users name.
 *
 * Spec: client-server-api/#get_matrixclientv1mediapreview_url
 */
export class Previews {
  readonly #options: PreviewsOptions
  readonly #underWay = new Map<string, Promise<string>>()
  readonly #failures = new LRUCache<string, true>({ ...atMost(10_000), ttl: keepFailureMs })

  constructor(options: PreviewsOptions) {
    this.#options = options
  }

  /** The preview as JSON text. */
  async get(text: string): Promise<string> {
    if (!this.#options.enabled) throw unrecognized(404)
    if (!isWebAddress(text)) throw invalidParam("'url' is no http:// or https:// address")
    const url = withoutFragment(text)
    if (url.length > maxUrl) throw invalidParam("'url' is too long")
    const { sql, clock } = this.#options
    const known = await rows.find(sql, url, clock() - keepMs)
    if (known !== undefined) return known
    if (this.#failures.has(url)) throw failed()
    let making = this.#underWay.get(url)
    if (!making) {
      making = this.#make(url).finally(() => this.#underWay.delete(url))
      this.#underWay.set(url, making)
    }
    return making
  }

  async #make(url: string): Promise<string> {
    const { sql, clock, spool, worker, onFailure, maxPixels } = this.#options
    const { blockedRanges, allowedRanges, extraAuthorities } = this.#options
    const target = await spool.newPath()
    try {
      const rules = { blockedRanges, allowedRanges, extraAuthorities }
      const made = await worker.call('preview', { url, target, maxPixels, ...rules })
      if (made.outcome === 'failed') {
        onFailure(made.reason)
        this.#failures.set(url, true)
        throw failed()
      }
      const picture = made.picture && (await this.#keep(made.picture, target))
      const json = JSON.stringify({ ...made.properties, ...picture })
      await rows.put(sql, url, json, clock())
      return json
    } finally {
      await spool.discard(target)
    }
  }

  async #keep({ contentType, width, height, bytes, sha256 }: Picture, path: string) {
    const { serverName, sql, clock } = this.#options
    await place(this.#options, { path, bytes, sha256 })
    const mediaId = newMediaId()
    const now = clock()
    await mediaRows.add(sql, {
      serverName,
      mediaId,
      userId: null,
      fileName: null,
      contentType,
      now,
      sha256: bytesOf(sha256),
      expiresAt: now + keepPictureMs,
    })
    return {
      'og:image': mxcOf(serverName, mediaId),
      'og:image:type': contentType,
      'og:image:width': width,
      'og:image:height': height,
      'matrix:image:size': bytes,
    }
  }
}

function withoutFragment(text: string): string {
  const url = new URL(text)
  url.hash = ''
  return url.href
}

/** The same for all failures: it tells nobody what is behind an address that may not be reached. */
const failed = () => new MatrixError(502, 'M_UNKNOWN', 'There is no preview of this address')
