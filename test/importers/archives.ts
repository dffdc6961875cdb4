import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { deflateRawSync, gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'

/** Entries by their names as bytes, so that they may be in any encoding. */
export type Entries = [name: string | Uint8Array, content: string | Uint8Array][]

/** Every file below a folder, by its name in there. */
export async function entriesOf(folder: string): Promise<Entries> {
  const names = await readdir(folder, { recursive: true, withFileTypes: true })
  const files = names
    .filter((each) => each.isFile())
    .map((each) => join(each.parentPath, each.name))
  return Promise.all(
    files.map(
      async (file) => [file.slice(folder.length + 1), await Bun.file(file).bytes()] as const,
    ),
  ) as Promise<Entries>
}

export type ZipOptions = {
  /** Sizes stand behind each entry, as where an archive is written while it is made. */
  streamed?: boolean
  /** Nothing is packed. */
  stored?: boolean
}

/** A zip as exporters write it: packed, names as they are, and no word of their encoding. */
export function zipOf(
  entries: Entries,
  { streamed = false, stored = false }: ZipOptions = {},
): Buffer {
  const parts: Buffer[] = []
  const directory: Buffer[] = []
  let offset = 0
  for (const [given, content] of entries) {
    const name = Buffer.from(given as string)
    const plain = Buffer.from(content as string)
    const packed = stored ? plain : deflateRawSync(plain)
    const fixed = Buffer.alloc(26)
    fixed.writeUInt16LE(20, 0)
    fixed.writeUInt16LE(streamed ? 8 : 0, 2)
    fixed.writeUInt16LE(stored ? 0 : 8, 4)
    fixed.writeUInt32LE(Bun.hash.crc32(plain), 10)
    fixed.writeUInt32LE(packed.length, 14)
    fixed.writeUInt32LE(plain.length, 18)
    fixed.writeUInt16LE(name.length, 22)
    const central = Buffer.alloc(46)
    central.writeUInt32LE(0x02014b50, 0)
    central.writeUInt16LE(20, 4)
    fixed.copy(central, 6)
    central.writeUInt32LE(offset, 42)
    directory.push(central, name)
    const behind = streamed
      ? [Buffer.from('PK\u0007\u0008'), Buffer.from(fixed.subarray(10, 22))]
      : []
    if (streamed) fixed.fill(0, 10, 22)
    const local = Buffer.concat([Buffer.from('PK\u0003\u0004'), fixed, name, packed, ...behind])
    parts.push(local)
    offset += local.length
  }
  const listed = Buffer.concat(directory)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(entries.length, 8)
  end.writeUInt16LE(entries.length, 10)
  end.writeUInt32LE(listed.length, 12)
  end.writeUInt32LE(offset, 16)
  return Buffer.concat([...parts, listed, end])
}

/** A tar, packed. */
export async function tarGzOf(entries: Entries): Promise<Buffer> {
  const tar = pack()
  for (const [name, content] of entries)
    tar.entry({ name: String(name) }, Buffer.from(content as string))
  tar.finalize()
  const pieces: Uint8Array[] = []
  for await (const piece of tar) pieces.push(piece as Uint8Array)
  return gzipSync(Buffer.concat(pieces))
}
