import { afterAll } from 'bun:test'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Value } from '@sinclair/typebox/value'
import { mount } from '#api/http/mount.ts'
import { ops } from '#api/index.ts'
import { RemoteError } from '#core/error.ts'
import type { Download, Downloaded } from '#engine/federation/options.ts'
import { sweepMedia } from '#engine/media/sweep.ts'
import { Spool } from '#engine/media/spool.ts'
import { Config } from '#src/config.ts'
import type { Context } from '#src/context.ts'
import { silentLog } from '#src/log.ts'
import { startMedia } from '#src/media.ts'
import type { TestDatabase } from '#test/database.ts'
import { newFolder } from '#test/folder.ts'
import { answersChecked, checkAnswer } from '#test/spec/responses.ts'
import { Home, type Person } from './home.ts'

export type MediaAnswer = { status: number; headers: Headers; bytes: Buffer; body: any }

/** A server with a content repository on disk, asked over a socket. */
export class MediaHome {
  readonly home: Home
  readonly ctx: Context
  readonly folder: string
  /** Every download of media of other servers that was begun. */
  readonly downloads: Download[] = []
  answer: (download: Download) => Promise<Downloaded> = async ({ destination }) => {
    throw new RemoteError(destination, 404, 'M_NOT_FOUND', 'Not found')
  }
  readonly #server: Bun.Server<undefined>

  private constructor(home: Home, ctx: Context, folder: string) {
    this.home = home
    this.ctx = ctx
    this.folder = folder
    const app = mount(ctx, ops, {
      onAnswer: (op, response) => {
        // To take a copy of a file would read it.
        const isFile = response.status === 200 && response.headers.has('etag')
        if (!isFile && response.status !== 304) checkAnswer(op, response)
      },
    })
    this.#server = Bun.serve({
      hostname: '127.0.0.1',
      port: 0,
      maxRequestBodySize: 2 ** 30,
      fetch: (request, peer) => app.fetch(request, peer),
    })
  }

  /** Call it at the top of a test file: it is closed after the file's last test. */
  static async open(db: TestDatabase, config: object = {}): Promise<MediaHome> {
    const home = await Home.open(db)
    home.now = Date.parse('2026-01-01T00:00:00Z')
    const folder = await newFolder('media')
    const started = new AsyncDisposableStack()
    const { sql, clock } = home.ctx
    const own = Value.Default(Config, {
      server_name: home.ctx.serverName,
      data_dir: folder,
      ...config,
    }) as Config
    const opened: { it?: MediaHome } = {}
    const federation = {
      download: (download: Download) => {
        opened.it!.downloads.push(download)
        return opened.it!.answer(download)
      },
    }
    const parts = { config: own, sql, log: silentLog, clock, started, federation }
    const media = await startMedia(parts)
    const it = new MediaHome(home, { ...home.ctx, config: own, ...media }, folder)
    opened.it = it
    afterAll(async () => {
      await it.#server.stop(true)
      await started.disposeAsync()
    })
    return it
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}`
  }

  get port(): number {
    return this.#server.port!
  }

  async ask(who: Person | undefined, path: string, init: RequestInit = {}): Promise<MediaAnswer> {
    const headers = new Headers(init.headers)
    if (who) headers.set('authorization', `Bearer ${who.token}`)
    const response = await fetch(`${this.url}${path}`, { ...init, headers })
    const bytes = Buffer.from(await response.arrayBuffer())
    await answersChecked()
    const isJson = response.headers.get('content-type') === 'application/json'
    const body: unknown = isJson ? JSON.parse(bytes.toString()) : undefined
    return { status: response.status, headers: response.headers, bytes, body }
  }

  /** Uploads, and answers the media ID. */
  async upload(
    who: Person,
    content: Exclude<RequestInit['body'], undefined>,
    { type = 'image/png', name }: { type?: string; name?: string } = {},
  ): Promise<string> {
    const query = name === undefined ? '' : `?filename=${encodeURIComponent(name)}`
    const { status, body } = await this.ask(who, `/_matrix/media/v3/upload${query}`, {
      method: 'POST',
      body: content,
      headers: { 'content-type': type },
    })
    if (status !== 200) throw new Error(`upload: ${status} ${JSON.stringify(body)}`)
    return (body.content_uri as string).split('/').at(-1)!
  }

  /** What lies on the disk: finished files, and those that are written or were left behind. */
  async files(): Promise<{ finished: string[]; incoming: string[] }> {
    const list = async (name: string) =>
      (await readdir(join(this.folder, 'media', name), { recursive: true }).catch(() => [])).map(
        (path) => path.split('/').at(-1)!,
      )
    const finished = (await list('files')).filter((name) => name.length === 64)
    return { finished: finished.sort(), incoming: await list('incoming') }
  }

  sweep(more: { keepFetchedMs?: number; maxFetchedBytes?: number } = {}): Promise<void> {
    const { sql, clock, serverName, mediaFiles: files } = this.ctx
    const spool = new Spool(join(this.folder, 'media', 'incoming'))
    const limits = { keepFetchedMs: 0, maxFetchedBytes: 0, ...more }
    return sweepMedia({ sql, clock, serverName, files, spool, ...limits })
  }
}
