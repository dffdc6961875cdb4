import { createReadStream } from 'node:fs'
import { type FileHandle, open, stat } from 'node:fs/promises'
import { constants, createInflateRaw } from 'node:zlib'
import { parseExtraFields } from 'yauzl'
import type { Problem } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'
import { isBomb } from './limits.ts'
import { nameOf, type Packed, ZipEntries } from './zip-entries.ts'

const local = 0x04034b50
const central = 0x02014b50
const directoryEnd = new Set([central, 0x06054b50, 0x06064b50, 0x08064b50])
const descriptor = 0x08074b50
const fixedSize = 30
const sizesFollow = 8
const inZip64 = 0xffffffff
const stored = 0
const deflated = 8
const piece = 256 * 1024

type Where = { start: number; packed: number; method: number }
type Header = Packed & { method: number; start: number }

/**
 * What can be read of a zip whose directory is lost, as it stands at its end and a download that was
 * interrupted has none. Libraries that read a zip from its start look for the mark of what comes next among
 * packed bytes, where it may stand by chance: here an entry ends where its packing does.
 */
export async function salvageZip(
  path: string,
  why: string,
  report: (problem: Problem) => void,
): Promise<Source> {
  const { size } = await stat(path)
  const entries = new ZipEntries<Where>(path, size, report)
  await using file = await open(path)
  const scan = new Scan(file, path, size)
  const lost = (reason: string, offset: number, name = path, done: Problem['done'] = 'skipped') =>
    report({ class: 'malformed', reason, place: { file: name, offset }, done })
  let at = 0
  while (at < size) {
    const header = await scan.header(at)
    if (header === 'directory') break
    if (header === undefined) {
      const next = (await scan.find(local, at + 1)) ?? size
      lost(`${next - at} bytes of the archive cannot be read`, at)
      at = next
      continue
    }
    const entry = await scan.measured(header)
    entries.add(entry, { start: entry.start, packed: entry.packed, method: entry.method })
    if (entry.end > size) {
      lost('The archive ends within this file: the end of it is lost', at, nameOf(entry.name))
      break
    }
    at = entry.end
  }
  if (entries.size === 0) {
    throw new Stop(
      `${path} is not a whole zip, and nothing in it can be read: download it again (${why})`,
    )
  }
  lost(
    `The archive has no directory at its end, the download may have been interrupted (${why}): ${entries.size} files were found without it, and what stood behind them is lost`,
    at,
  )
  return entries.source(
    (where) => bytesOf(path, where),
    () => undefined,
  )
}

async function* bytesOf(
  path: string,
  { start, packed, method }: Where,
): AsyncGenerator<Uint8Array> {
  if (packed === 0) return
  const read = createReadStream(path, { start, end: start + packed - 1, highWaterMark: piece })
  if (method === stored) {
    yield* read as AsyncIterable<Uint8Array>
    return
  }
  if (method !== deflated) throw new Error(`It is packed in a way that is not known (${method})`)
  // Where the file ends too early, what is there until then is given.
  const unpack = createInflateRaw({ finishFlush: constants.Z_SYNC_FLUSH })
  read.on('error', (error) => unpack.destroy(error))
  read.pipe(unpack)
  let unpacked = 0
  try {
    for await (const chunk of unpack as AsyncIterable<Uint8Array>) {
      unpacked += chunk.length
      // The header may have told less.
      if (isBomb(packed, unpacked))
        throw new Error('It unpacks to so much more than it is that it is not read further')
      yield chunk
    }
  } finally {
    read.destroy()
    unpack.destroy()
  }
}

/** Reads the headers that stand before each entry. */
class Scan {
  readonly #file: FileHandle
  readonly #path: string
  readonly #size: number

  constructor(file: FileHandle, path: string, size: number) {
    this.#file = file
    this.#path = path
    this.#size = size
  }

  /** The header at a place; undefined if there is none, or not a whole one. */
  async header(at: number): Promise<Header | 'directory' | undefined> {
    const fixed = await this.#read(at, fixedSize)
    if (fixed.length < 4) return undefined
    const sign = fixed.readUInt32LE(0)
    if (directoryEnd.has(sign)) return 'directory'
    if (sign !== local || fixed.length < fixedSize) return undefined
    const [nameSize, extraSize] = [fixed.readUInt16LE(26), fixed.readUInt16LE(28)]
    const names = await this.#read(at + fixedSize, nameSize + extraSize)
    if (nameSize === 0 || names.length < nameSize + extraSize) return undefined
    const header = {
      name: names.subarray(0, nameSize),
      flags: fixed.readUInt16LE(6),
      method: fixed.readUInt16LE(8),
      packed: fixed.readUInt32LE(18),
      unpacked: fixed.readUInt32LE(22),
      start: at + fixedSize + nameSize + extraSize,
    }
    const long = longSizes(names.subarray(nameSize))
    // The sizes that did not fit stand there in this order.
    if (header.unpacked === inZip64) header.unpacked = long.shift() ?? 0
    if (header.packed === inZip64) header.packed = long.shift() ?? 0
    return header
  }

  /** A header with the sizes that follow its bytes where it does not tell them, and where the entry ends. */
  async measured(header: Header): Promise<Header & { end: number }> {
    const { flags, packed, start } = header
    const known = start + packed
    const follows = (flags & sizesFollow) !== 0
    if (!follows || packed > 0) {
      const end = follows ? await this.#behindDescriptor(known) : known
      // Of one that is cut off there is less than it says.
      return { ...header, packed: Math.min(packed, this.#size - start), end }
    }
    const found =
      header.method === deflated ? await this.#inflate(start) : await this.#stored(start)
    if (!found) {
      // Damaged where another begins behind it, cut off where none does.
      const end = (await this.find(local, start)) ?? this.#size + 1
      return { ...header, packed: Math.min(end, this.#size) - start, end }
    }
    const end = await this.#behindDescriptor(start + found.packed)
    return { ...header, ...found, end }
  }

  /** Unpacks to find where that ends. */
  async #inflate(start: number): Promise<{ packed: number; unpacked: number } | undefined> {
    const read = createReadStream(this.#path, { start, highWaterMark: piece })
    const unpack = createInflateRaw()
    read.pipe(unpack)
    let unpacked = 0
    try {
      for await (const chunk of unpack) {
        unpacked += (chunk as Uint8Array).length
        if (isBomb(unpack.bytesWritten, unpacked))
          throw new Stop(`${this.#path} unpacks to so much more than it is that it is not read`)
      }
      return { packed: unpack.bytesWritten, unpacked }
    } catch (error) {
      if (error instanceof Stop) throw error
      return undefined
    } finally {
      read.destroy()
      unpack.destroy()
    }
  }

  /** What is not packed ends before sizes that are as large as it is. */
  async #stored(start: number): Promise<{ packed: number; unpacked: number } | undefined> {
    let at = await this.find(descriptor, start)
    while (at !== undefined) {
      const sizes = await this.#read(at + 8, 4)
      const packed = at - start
      if (sizes.length === 4 && sizes.readUInt32LE(0) === packed % 2 ** 32)
        return { packed, unpacked: packed }
      at = await this.find(descriptor, at + 1)
    }
    return undefined
  }

  /** The checksum and the sizes behind an entry, of 32 or 64 bits, may have a mark before them. */
  async #behindDescriptor(at: number): Promise<number> {
    const bytes = await this.#read(at, 28)
    const isNext = (size: number) => {
      if (at + size === this.#size) return true
      if (bytes.length < size + 4) return false
      const sign = bytes.readUInt32LE(size)
      return sign === local || directoryEnd.has(sign)
    }
    return at + ([16, 24, 12, 20].find(isNext) ?? 0)
  }

  /** Where four bytes stand next. */
  async find(sign: number, from: number): Promise<number | undefined> {
    const wanted = Buffer.alloc(4)
    wanted.writeUInt32LE(sign)
    for (let at = from; at < this.#size; at += piece) {
      const found = (await this.#read(at, piece + 3)).indexOf(wanted)
      if (found >= 0) return at + found
    }
    return undefined
  }

  async #read(at: number, size: number): Promise<Buffer> {
    const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(size), 0, size, at)
    return buffer.subarray(0, bytesRead)
  }
}

/** The sizes of more than 32 bits, which stand in a field of their own. */
function longSizes(extra: Buffer): number[] {
  try {
    const found = parseExtraFields(extra).find(({ id }) => id === 1)?.data
    if (!found) return []
    return [0, 8]
      .filter((at) => at + 8 <= found.length)
      .map((at) => Number(found.readBigUInt64LE(at)))
  } catch {
    // Damaged: the sizes are found by unpacking, or not at all.
    return []
  }
}
