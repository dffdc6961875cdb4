import { stat } from 'node:fs/promises'
import * as yauzl from 'yauzl'
import type { Problem } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'
import { isBomb, isBombTogether } from './limits.ts'
import { byName, isLitter, safeName } from './names.ts'

const utf8 = new TextDecoder('utf-8', { fatal: true })
const mostEntries = 5_000_000

/**
 * A zip, whose entries are unpacked while they are read. Names are UTF-8 where they can be, as many
 * exporters write them so without saying it.
 */
export async function openZip(path: string, report: (problem: Problem) => void): Promise<Source> {
  const packed = (await stat(path)).size
  const zip = await yauzl
    .openPromise(path, { lazyEntries: true, autoClose: false, decodeStrings: false })
    .catch((error: unknown) => {
      throw new Stop(
        `${path} is not a whole zip, the download may have been interrupted (${String(error)})`,
      )
    })
  const entries = new Map<string, yauzl.Entry>()
  let unpacked = 0
  const refuse = (name: string, reason: string) =>
    report({ class: 'unsafe_archive', reason, place: { file: name }, done: 'skipped' })
  for await (const entry of zip.eachEntry()) {
    // Without decodeStrings names come as bytes, whatever the types say.
    const given = nameOf(entry.fileName as unknown as Buffer)
    if (given.endsWith('/') || isLitter(given)) continue
    const name = safeName(given)
    if (name === undefined) refuse(given, 'The name leads out of the archive')
    else if (isBomb(entry.compressedSize, entry.uncompressedSize))
      refuse(given, `Unpacks from ${entry.compressedSize} to ${entry.uncompressedSize} bytes`)
    else if (entry.generalPurposeBitFlag & 1) refuse(given, 'It is encrypted')
    else {
      unpacked += entry.uncompressedSize
      entries.set(name, entry)
    }
    if (isBombTogether(packed, unpacked) || entries.size > mostEntries)
      throw new Stop(`${path} unpacks to so much more than it is that it is not read`)
  }
  const open = async function* (name: string) {
    const entry = entries.get(name)
    if (!entry) throw new Error(`There is no ${name} in the export`)
    const stream = await zip.openReadStreamPromise(entry)
    try {
      for await (const chunk of stream) yield chunk as Uint8Array
    } finally {
      stream.destroy()
    }
  }
  return {
    path,
    entries: [...entries]
      .map(([name, { uncompressedSize }]) => ({ name, size: uncompressedSize }))
      .sort(byName),
    has: (name) => entries.has(name),
    async head(name, size = 4096) {
      const pieces: Uint8Array[] = []
      let read = 0
      for await (const chunk of open(name)) {
        pieces.push(chunk)
        read += chunk.length
        if (read >= size) break
      }
      return Buffer.concat(pieces).subarray(0, size)
    },
    open,
    close() {
      zip.close()
      return Promise.resolve()
    },
  }
}

function nameOf(bytes: Buffer): string {
  try {
    return utf8.decode(bytes)
  } catch {
    return new TextDecoder('windows-1252').decode(bytes)
  }
}
