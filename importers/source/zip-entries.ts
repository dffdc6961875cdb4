import type { Problem } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'
import { isBomb, isBombTogether } from './limits.ts'
import { byName, isLitter, safeName } from './names.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })
const mostEntries = 5_000_000
const encrypted = 1

/** What a zip says of an entry. */
export type Packed = {
  /** As it stands there, in whatever encoding. */
  name: Uint8Array
  flags: number
  packed: number
  unpacked: number
}

type Kept<T> = { size: number; where: T }

/** The entries of a zip, each with where its bytes are; what is unsafe is reported, and not among them. */
export class ZipEntries<T> {
  readonly #path: string
  readonly #packed: number
  readonly #report: (problem: Problem) => void
  readonly #entries = new Map<string, Kept<T>>()
  #unpacked = 0

  constructor(path: string, packed: number, report: (problem: Problem) => void) {
    this.#path = path
    this.#packed = packed
    this.#report = report
  }

  get size(): number {
    return this.#entries.size
  }

  add(entry: Packed, where: T): void {
    const given = nameOf(entry.name)
    if (given.endsWith('/') || isLitter(given)) return
    const name = safeName(given)
    if (name === undefined) this.#refuse(given, 'The name leads out of the archive')
    else if (isBomb(entry.packed, entry.unpacked))
      this.#refuse(given, `Unpacks from ${entry.packed} to ${entry.unpacked} bytes`)
    else if (entry.flags & encrypted) this.#refuse(given, 'It is encrypted')
    else {
      this.#unpacked += entry.unpacked
      this.#entries.set(name, { size: entry.unpacked, where })
    }
    if (isBombTogether(this.#packed, this.#unpacked) || this.#entries.size > mostEntries)
      throw new Stop(
        `${this.#path} unpacks to so much more than it is that it is not read: if you trust it, unpack it, and give its folder`,
      )
  }

  #refuse(name: string, reason: string): void {
    this.#report({ class: 'unsafe_archive', reason, place: { file: name }, done: 'skipped' })
  }

  /** The files of an export, whose bytes `open` gives. */
  source(open: (where: T) => AsyncIterable<Uint8Array>, close: () => void): Source {
    const openEntry = (name: string) => {
      const entry = this.#entries.get(name)
      if (!entry) throw new Error(`There is no ${name} in the export`)
      return open(entry.where)
    }
    return {
      path: this.#path,
      entries: Array.from(this.#entries, ([name, { size }]) => ({ name, size })).sort(byName),
      has: (name) => this.#entries.has(name),
      async head(name, size = 4096) {
        const pieces: Uint8Array[] = []
        let read = 0
        for await (const chunk of openEntry(name)) {
          pieces.push(chunk)
          read += chunk.length
          if (read >= size) break
        }
        return Buffer.concat(pieces).subarray(0, size)
      },
      open: openEntry,
      close() {
        close()
        return Promise.resolve()
      },
    }
  }
}

/** UTF-8 where it can be, as many exporters write it without saying so. */
export function nameOf(bytes: Uint8Array): string {
  try {
    return utf8.decode(bytes)
  } catch {
    return new TextDecoder('windows-1252').decode(bytes)
  }
}
