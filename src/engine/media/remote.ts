import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import { MatrixError, RemoteError, notFound } from '#core/error.ts'
import { answerTooLarge } from '#engine/federation/answer.ts'
import type { Download, Downloaded } from '#engine/federation/options.ts'
import { contentTypeOf, fileNameIn } from '#engine/media/about.ts'
import type { MediaFiles } from '#engine/media/files.ts'
import { bytesOf, place } from '#engine/media/place.ts'
import type { Spool } from '#engine/media/spool.ts'
import type { Pool } from '#store/db.ts'
import * as mediaRows from '#store/media/media.ts'

export type RemoteMediaOptions = {
  sql: Pool
  clock: () => number
  files: MediaFiles
  spool: Spool
  /** Asks the other server; undefined where this server talks to none. */
  download: ((download: Download) => Promise<Downloaded>) | undefined
  maxBytes: number
}

export type Fetched = {
  contentType: string
  fileName: string | null
  sha256: string
  bytes: number
  quarantined: boolean
}

const transferMs = 600_000
/** Whoever waits is answered by then; the transfer goes on, and the next one finds it done. */
const patienceMs = 120_000
/** For so long a server is not asked again for what it does not give us. */
const keepFailureMs = 30_000

/** Media of other servers: fetched once however many want it, and kept. */
export class RemoteMedia {
  readonly #options: RemoteMediaOptions
  readonly #underWay = new Map<string, Promise<Fetched>>()
  readonly #failures = new LRUCache<string, MatrixError | RemoteError>({
    ...atMost(10_000),
    ttl: keepFailureMs,
  })

  constructor(options: RemoteMediaOptions) {
    this.#options = options
  }

  /** Fetches media; `waitMs` is how long its server may wait for an upload that is under way there. */
  async fetch(serverName: string, mediaId: string, waitMs: number): Promise<Fetched> {
    const { download } = this.#options
    if (!download) throw notFound('This server fetches no media of others')
    const key = `${serverName}/${mediaId}`
    const failure = this.#failures.get(key)
    if (failure) throw failure
    let fetching = this.#underWay.get(key)
    if (!fetching) {
      fetching = this.#fetch(download, serverName, mediaId, waitMs)
        .catch((error: unknown) => {
          const told = inWordsOfSpec(error)
          if (isLasting(told)) this.#failures.set(key, told)
          throw told
        })
        .finally(() => this.#underWay.delete(key))
      this.#underWay.set(key, fetching)
    }
    return withPatience(fetching)
  }

  async #fetch(
    download: (download: Download) => Promise<Downloaded>,
    serverName: string,
    mediaId: string,
    waitMs: number,
  ): Promise<Fetched> {
    const { sql, clock, spool, maxBytes } = this.#options
    const path = await spool.newPath()
    try {
      const request = { destination: serverName, mediaId, file: path, maxBytes, waitMs, transferMs }
      const { bytes, sha256, contentType: type, disposition } = await download(request)
      await place(this.#options, { path, bytes, sha256 })
      const contentType = contentTypeOf(type)
      const fileName = fileNameIn(disposition)
      const about = { contentType, fileName, sha256: bytesOf(sha256) }
      await mediaRows.add(sql, { serverName, mediaId, userId: null, ...about, now: clock() })
      const row = await mediaRows.find(sql, serverName, mediaId)
      const quarantined = row?.quarantined ?? false
      return { contentType, fileName, sha256, bytes, quarantined }
    } finally {
      await spool.discard(path)
    }
  }
}

/** A failure in the words that the spec has for it. */
function inWordsOfSpec(error: unknown): unknown {
  if (!(error instanceof RemoteError)) return error
  const { status, errcode } = error
  if (errcode === answerTooLarge || errcode === 'M_TOO_LARGE')
    return new MatrixError(502, 'M_TOO_LARGE', 'The media is too large to be fetched')
  if (errcode === 'M_NOT_YET_UPLOADED') return notYet()
  return status === 404 ? notFound('There is no such media') : error
}

function isLasting(error: unknown): error is MatrixError | RemoteError {
  if (error instanceof RemoteError) return true
  return error instanceof MatrixError && (error.status === 404 || error.errcode === 'M_TOO_LARGE')
}

const notYet = () =>
  new MatrixError(504, 'M_NOT_YET_UPLOADED', 'The content has not yet come from its server')

async function withPatience<T>(work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(notYet()), patienceMs)
  try {
    return await Promise.race([work, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
