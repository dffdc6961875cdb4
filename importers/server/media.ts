import { createHash } from 'node:crypto'
import { lookup } from 'node:dns/promises'
import { mkdir, open, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { fileTypeFromBuffer } from 'file-type'
import ipaddr from 'ipaddr.js'
import type { FileContent } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { type Ledger, type Media, missing, notWanted } from '#importers/state/ledger.ts'
import { Refused, type Server } from './client.ts'

export type UploaderOptions = {
  source: Source
  server: Server
  ledger: Ledger
  /** A folder for files on their way. */
  folder: string
  /** What the server takes at most; in bytes. */
  most: number
  /** Whether files that only have an address may be fetched from within private networks. */
  privateHosts: boolean
  /** Whether files are left out (`--no-media`). */
  off: boolean
  signal: AbortSignal
}

const atOnce = 4
const fetchDeadline = 60_000
const mostRedirects = 5

/** The file of an export under which it is remembered. */
export function keyOf(content: FileContent): string {
  return 'entry' in content ? content.entry : content.url
}

/** Brings files of an export into the content repository, each once, the same bytes once. */
export class Uploader {
  bytes = 0
  files = 0
  readonly #options: UploaderOptions
  readonly #under = new Map<string, Promise<void>>()
  /** By the hash of what is being sent. */
  readonly #sending = new Map<string, Promise<string>>()
  #free = atOnce
  readonly #waiting: (() => void)[] = []
  #number = 0

  constructor(options: UploaderOptions) {
    this.#options = options
  }

  /** Whether files are left out, so that none of them is missing. */
  get isOff(): boolean {
    return this.#options.off
  }

  /** What is known of a file; call `bring` before. */
  get(content: FileContent): Media | undefined {
    if (this.#options.off) return missing(notWanted)
    return this.#options.ledger.media(keyOf(content))
  }

  /** Uploads what of these files is not there yet; what cannot be brought is remembered with its reason. */
  async bring(contents: readonly FileContent[]): Promise<void> {
    if (this.#options.off) return
    await Promise.all(contents.map((content) => this.#bringOne(content)))
  }

  async #bringOne(content: FileContent): Promise<void> {
    const key = keyOf(content)
    const known = this.#options.ledger.media(key)
    if (known && (known.mxc !== null || known.gone !== null)) return
    let running = this.#under.get(key)
    if (!running) {
      running = this.#take(key, content).finally(() => this.#under.delete(key))
      this.#under.set(key, running)
    }
    await running
  }

  async #take(key: string, content: FileContent): Promise<void> {
    if (this.#free > 0) this.#free--
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    const path = join(this.#options.folder, `file-${process.pid}-${this.#number++}`)
    try {
      await mkdir(this.#options.folder, { recursive: true })
      await this.#transfer(key, content, path)
    } catch (error) {
      if (this.#options.signal.aborted || !(error instanceof Gone)) throw error
      this.#remember(key, { gone: error.message })
    } finally {
      await rm(path, { force: true })
      const next = this.#waiting.shift()
      if (next) next()
      else this.#free++
    }
  }

  async #transfer(key: string, content: FileContent, path: string): Promise<void> {
    const { ledger } = this.#options
    const { hash, size } = await this.#store(await this.#open(content), path)
    const head = new Uint8Array(await Bun.file(path).slice(0, 8192).arrayBuffer())
    const name = key.split(/[?#]/)[0]!
    const type = (await fileTypeFromBuffer(head))?.mime ?? Bun.file(name).type.split(';')[0]!
    const shape = type.startsWith('image/') ? await shapeOf(path) : {}
    const known = ledger.mxcOfHash(hash)
    const sending =
      known !== undefined
        ? Promise.resolve(known)
        : (this.#sending.get(hash) ?? this.#upload(path, hash, { type, name: decodeName(name) }))
    this.#sending.set(hash, sending)
    const mxc = await sending.finally(() => this.#sending.delete(hash))
    this.files++
    this.bytes += size
    this.#remember(key, { mxc, type, size, ...shape })
  }

  async #upload(path: string, hash: string, file: { type: string; name: string }): Promise<string> {
    try {
      const answer = await this.#options.server.request('POST', '/_matrix/media/v3/upload', {
        file: { content: Bun.file(path), type: file.type },
        query: { filename: file.name },
      })
      const { content_uri: mxc } = answer as { content_uri: string }
      this.#options.ledger.putHash(hash, mxc)
      return mxc
    } catch (error) {
      if (error instanceof Refused) throw new Gone(`the server refused it: ${error.message}`)
      throw error
    }
  }

  #remember(key: string, known: Partial<Media>): void {
    const nothing = { mxc: null, type: null, size: null, width: null, height: null, gone: null }
    this.#options.ledger.putMedia(key, { ...nothing, ...known })
  }

  async #store(
    chunks: AsyncIterable<Uint8Array>,
    path: string,
  ): Promise<{ hash: string; size: number }> {
    const hash = createHash('sha256')
    let size = 0
    const file = await open(path, 'w')
    try {
      for await (const chunk of chunks) {
        size += chunk.length
        if (size > this.#options.most)
          throw new Gone(`it is larger than the ${this.#options.most} bytes that the server takes`)
        hash.update(chunk)
        await file.write(chunk)
      }
    } catch (error) {
      if (error instanceof Gone || this.#options.signal.aborted) throw error
      throw new Gone(`it could not be read (${String(error)})`)
    } finally {
      await file.close()
    }
    if (size === 0) throw new Gone('it is empty')
    return { hash: hash.digest('hex'), size }
  }

  async #open(content: FileContent): Promise<AsyncIterable<Uint8Array>> {
    const { source } = this.#options
    if ('entry' in content) {
      if (!source.has(content.entry)) throw new Gone('the file is not in the export')
      return source.open(content.entry)
    }
    return this.#fetch(content.url, content.headers ?? {}, mostRedirects)
  }

  async #fetch(
    address: string,
    headers: { [name: string]: string },
    redirects: number,
  ): Promise<AsyncIterable<Uint8Array>> {
    const url = URL.parse(address)
    if (!url || !/^https?:$/.test(url.protocol)) throw new Gone('its address is none of the web')
    if (!this.#options.privateHosts) await requirePublic(url.hostname)
    const response = await fetch(url.href, {
      headers,
      redirect: 'manual',
      signal: AbortSignal.any([this.#options.signal, AbortSignal.timeout(fetchDeadline)]),
    }).catch((error: unknown) => {
      if (this.#options.signal.aborted) throw error
      throw new Gone(`${url.host} does not answer (${String(error)})`)
    })
    const target = response.headers.get('location')
    if (response.status >= 300 && response.status < 400 && target) {
      if (redirects === 0) throw new Gone(`${url.host} sends from one address to the next`)
      const next = URL.parse(target, url.href)
      // What was meant for one host is for no other.
      const same = next?.host === url.host
      return this.#fetch(String(next), same ? headers : {}, redirects - 1)
    }
    if (!response.ok || !response.body) throw new Gone(`${url.host} answers ${response.status}`)
    // Whoever is not let in gets a page to log in with.
    if (isPage(response) && !/\.x?html?$/i.test(url.pathname))
      throw new Gone(`${url.host} answers with a page instead: the link may have expired`)
    return response.body
  }
}

const isPage = ({ headers }: Response) =>
  /^text\/html/i.test(headers.get('content-type') ?? '') &&
  !/^attachment/i.test(headers.get('content-disposition') ?? '')

/** Why a file cannot be brought, as a clause. */
class Gone extends Error {
  override readonly name = 'Gone'
}

/** An export is written by others: it is not to make this machine ask its neighbours. */
async function requirePublic(host: string): Promise<void> {
  const addresses = await lookup(host.replace(/^\[|\]$/g, ''), { all: true }).catch(() => {
    throw new Gone(`there is no host ${host}`)
  })
  for (const { address } of addresses) {
    if (ipaddr.process(address).range() !== 'unicast')
      throw new Gone(`${host} is within a private network (see --private-hosts)`)
  }
}

async function shapeOf(path: string): Promise<{ width?: number; height?: number }> {
  // It is large, and most exports have nothing for it.
  const { default: sharp } = await import('sharp')
  try {
    const { width, height } = await sharp(path).metadata()
    return { width, height }
  } catch {
    // It says that it is an image, and is none: it goes as it is.
    return {}
  }
}

function decodeName(name: string): string {
  const last = name.split('/').at(-1) ?? name
  try {
    return decodeURIComponent(last)
  } catch {
    return last
  }
}
