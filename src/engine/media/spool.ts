import { mkdir, readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { FileSink } from '#engine/federation/file-sink.ts'

/** A finished file that nobody else knows of yet. */
export type Spooled = { path: string; bytes: number; sha256: string }

/** What is left behind by a process that was killed is older than anything that is still under way. */
const leftBehindMs = 24 * 3600 * 1000

/**
 * Where media is written while it comes. What is in here is never served: it gets a name, and a place
 * among the files, when all of it is there.
 */
export class Spool {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  /** A path for a file that is to be written. */
  async newPath(): Promise<string> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 })
    return join(this.#directory, crypto.randomUUID())
  }

  /** Writes a stream of at most so many bytes to a file; longer ones are a `TooLargeError`. */
  async receive(body: ReadableStream<Uint8Array> | null, maxBytes: number): Promise<Spooled> {
    const path = await this.newPath()
    try {
      await using sink = await FileSink.open(path, maxBytes)
      // Leaving the loop cancels the stream.
      if (body) for await (const bytes of body) await sink.write(bytes)
      return { path, ...(await sink.finish()) }
    } catch (error) {
      await this.discard(path)
      throw error
    }
  }

  /** Removes a file that did not get a place; one that did is no longer here. */
  async discard(path: string): Promise<void> {
    await rm(path, { force: true })
  }

  /** Removes what processes that were killed have left behind. */
  async clean(now: number): Promise<void> {
    const names = await readdir(this.#directory).catch(() => [])
    for (const name of names) {
      const path = join(this.#directory, name)
      const found = await stat(path).catch(() => undefined)
      if (found && found.mtimeMs < now - leftBehindMs) await this.discard(path)
    }
  }
}
