import {
  MatrixError,
  forbidden,
  limitExceeded,
  notFound,
  tooLarge,
  unavailable,
} from '#core/error.ts'
import { TooLargeError } from '#engine/federation/dialer.ts'
import type { MediaFiles } from '#engine/media/files.ts'
import { newMediaId, requireMxc } from '#engine/media/keys.ts'
import { bytesOf, hexOf, place } from '#engine/media/place.ts'
import type { RemoteMedia } from '#engine/media/remote.ts'
import type { Spool, Spooled } from '#engine/media/spool.ts'
import type { Used } from '#engine/media/used.ts'
import { WaitingUploads } from '#engine/media/waiting-uploads.ts'
import type { Pool } from '#store/db.ts'
import * as mediaRows from '#store/media/media.ts'

export type MediaOptions = {
  serverName: string
  sql: Pool
  clock: () => number
  files: MediaFiles
  spool: Spool
  remote: RemoteMedia
  used: Used
  maxUploadBytes: number
  /** IDs that a user may have created and not yet uploaded to. */
  maxPending: number
  /** How long such an ID is good. */
  pendingMs: number
  /** Media that is older is also for those who do not say who they are. */
  openBefore: number
}

/** What the uploader says of a file. */
export type About = { contentType: string; fileName: string | null }

/** Media whose content is there. */
export type StoredMedia = About & {
  serverName: string
  mediaId: string
  /** In hexadecimal digits. */
  sha256: string
  bytes: number
}

export type Wanted = {
  serverName: string
  mediaId: string
  /** How long the caller waits for an upload that is under way. */
  timeoutMs?: number | undefined
  /** Whether other servers are asked. */
  allowRemote?: boolean
  /** The caller has not said who they are. */
  openly?: boolean
}

const defaultTimeoutMs = 20_000
const maxTimeoutMs = 120_000
const maxUploads = 200
const maxUploadsOfUser = 10

/**
 * The content repository of this server: takes uploads and finds what was uploaded, here or there.
 *
 * Spec: client-server-api/#content-repository
 */
export class Media {
  readonly #options: MediaOptions
  /** Who waits for what is created and not uploaded yet. */
  readonly awaited = new WaitingUploads()
  readonly #uploads = new Map<string, number>()
  #uploadCount = 0

  constructor(options: MediaOptions) {
    this.#options = options
  }

  /** Keeps what a user uploads; its new ID. */
  async upload(
    userId: string,
    body: ReadableStream<Uint8Array> | null,
    about: About,
  ): Promise<string> {
    const { serverName, clock, sql } = this.#options
    const mediaId = newMediaId()
    await this.#receive(userId, body, async ({ sha256 }) => {
      const media = { serverName, mediaId, userId, sha256: bytesOf(sha256), ...about }
      await mediaRows.add(sql, { ...media, now: clock() })
    })
    return mediaId
  }

  /** Makes an ID to upload to later. */
  async create(userId: string): Promise<{ mediaId: string; expiresAt: number }> {
    const { serverName, clock, sql, maxPending: atMost, pendingMs } = this.#options
    const mediaId = newMediaId()
    const now = clock()
    const expiresAt = now + pendingMs
    const made = await sql.begin((tx) =>
      mediaRows.create(tx, { serverName, mediaId }, { userId, now, expiresAt, atMost }),
    )
    // When one of them will be free depends on the user.
    if (!made) throw limitExceeded(10_000)
    return { mediaId, expiresAt }
  }

  /** Keeps what a user uploads to an ID that they have created. */
  async uploadTo(
    userId: string,
    { serverName, mediaId }: { serverName: string; mediaId: string },
    body: ReadableStream<Uint8Array> | null,
    about: About,
  ): Promise<void> {
    requireMxc(serverName, mediaId)
    const { sql, clock } = this.#options
    const found =
      serverName === this.#options.serverName
        ? await mediaRows.find(sql, serverName, mediaId)
        : undefined
    if (!found) throw unknownId()
    if (found.userId !== userId) throw forbidden('Somebody else has created this media ID')
    if (found.sha256) throw overwritten()
    if (found.expiresAt !== null && found.expiresAt <= clock()) throw unknownId()
    await this.#receive(userId, body, async ({ sha256 }) => {
      const media = { serverName, mediaId, userId, sha256: bytesOf(sha256), ...about }
      if (await mediaRows.complete(sql, { ...media, now: clock() })) return
      // Another upload was faster, or the time ran out meanwhile.
      const now = await mediaRows.find(sql, serverName, mediaId)
      throw now?.sha256 ? overwritten() : unknownId()
    })
    this.awaited.wake(mediaId)
  }

  /** Finds media whose content is there in the end, and may be given to the caller. */
  async find(wanted: Wanted): Promise<StoredMedia> {
    const { serverName, mediaId, allowRemote = true, openly = false } = wanted
    requireMxc(serverName, mediaId)
    const { remote, used, openBefore, clock } = this.#options
    const isOurs = serverName === this.#options.serverName
    const isFrozen = openly && clock() >= openBefore
    // Whoever would not get it need not wait for it.
    const timeoutMs = isFrozen
      ? 0
      : Math.min(Math.max(0, wanted.timeoutMs ?? defaultTimeoutMs), maxTimeoutMs)
    const known = isOurs
      ? await this.#findOurs(mediaId, timeoutMs)
      : await mediaRows.find(this.#options.sql, serverName, mediaId)
    if (known?.quarantined) throw unknownMedia()
    // What is fetched now is new, however old it is there.
    if (openly && (known?.createdAt ?? clock()) >= openBefore) throw unknownMedia()
    const stored = known && (await this.#storedOf(known))
    if (stored) {
      if (!isOurs) used.note(stored)
      return stored
    }
    if (isOurs || !allowRemote) throw unknownMedia()
    const fetched = await remote.fetch(serverName, mediaId, timeoutMs)
    if (fetched.quarantined) throw unknownMedia()
    const { contentType, fileName, sha256, bytes } = fetched
    return { serverName, mediaId, contentType, fileName, sha256, bytes }
  }

  /** Whoever waits for an upload is told that it did not come. */
  stop(): void {
    this.awaited.wakeAll()
  }

  async #findOurs(mediaId: string, timeoutMs: number): Promise<mediaRows.Media | undefined> {
    const { sql, serverName, clock } = this.#options
    const isPending = (found: mediaRows.Media | undefined) =>
      found?.sha256 === null && (found.expiresAt ?? 0) > clock()
    const first = await mediaRows.find(sql, serverName, mediaId)
    if (!isPending(first)) return first
    await this.awaited.wait(mediaId, timeoutMs)
    const then = await mediaRows.find(sql, serverName, mediaId)
    if (isPending(then))
      throw new MatrixError(504, 'M_NOT_YET_UPLOADED', 'The content has not yet been uploaded')
    return then
  }

  /** What is known, if its content is there too. */
  async #storedOf(media: mediaRows.Media): Promise<StoredMedia | undefined> {
    if (!media.sha256) return undefined
    if (media.expiresAt !== null && media.expiresAt <= this.#options.clock()) return undefined
    const { serverName, mediaId, contentType, fileName, bytes } = media
    const sha256 = hexOf(media.sha256)
    return (await this.#options.files.has(sha256))
      ? { serverName, mediaId, contentType, fileName, sha256, bytes }
      : undefined
  }

  /** Takes a body in; `keep` writes what needs it. */
  async #receive(
    userId: string,
    body: ReadableStream<Uint8Array> | null,
    keep: (file: Spooled) => Promise<void>,
  ): Promise<void> {
    const { spool, maxUploadBytes } = this.#options
    const leave = this.#enter(userId)
    try {
      const file = await spool.receive(body, maxUploadBytes)
      try {
        await place(this.#options, file)
        await keep(file)
      } finally {
        await spool.discard(file.path)
      }
    } catch (error) {
      throw error instanceof TooLargeError
        ? tooLarge(`An upload may have ${maxUploadBytes} bytes at most`)
        : error
    } finally {
      leave()
    }
  }

  #enter(userId: string): () => void {
    const own = this.#uploads.get(userId) ?? 0
    if (own >= maxUploadsOfUser) throw limitExceeded(2_000)
    if (this.#uploadCount >= maxUploads) throw unavailable('Too many uploads are under way')
    this.#uploads.set(userId, own + 1)
    this.#uploadCount++
    return () => {
      this.#uploadCount--
      const left = this.#uploads.get(userId)! - 1
      if (left === 0) this.#uploads.delete(userId)
      else this.#uploads.set(userId, left)
    }
  }
}

const unknownMedia = () => notFound('There is no such media')
const unknownId = () => notFound('This media ID was not created here, or has expired')
const overwritten = () =>
  new MatrixError(409, 'M_CANNOT_OVERWRITE_MEDIA', 'This media ID has its content already')
