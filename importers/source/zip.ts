import { stat } from 'node:fs/promises'
import * as yauzl from 'yauzl'
import type { Problem } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { salvageZip } from './salvage.ts'
import { ZipEntries } from './zip-entries.ts'

/**
 * A zip, whose entries are unpacked while they are read. One without its directory, which stands at the end,
 * gives what the entries themselves tell.
 */
export async function openZip(path: string, report: (problem: Problem) => void): Promise<Source> {
  const packed = (await stat(path)).size
  let zip: yauzl.ZipFile
  try {
    zip = await yauzl.openPromise(path, {
      lazyEntries: true,
      autoClose: false,
      decodeStrings: false,
    })
  } catch (error) {
    return salvageZip(path, String(error), report)
  }
  const entries = new ZipEntries<yauzl.Entry>(path, packed, report)
  const listing = zip.eachEntry()
  for (;;) {
    const next = await listing.next().catch((error: unknown) => String(error))
    if (typeof next === 'string') {
      zip.close()
      return salvageZip(path, next, report)
    }
    if (next.done) break
    entries.add(packedOf(next.value), slim(next.value))
  }
  const open = async function* (entry: yauzl.Entry) {
    const stream = await zip.openReadStreamPromise(entry)
    try {
      for await (const chunk of stream) yield chunk as Uint8Array
    } finally {
      stream.destroy()
    }
  }
  return entries.source(open, () => zip.close())
}

const packedOf = (entry: yauzl.Entry) => ({
  // Without decodeStrings names come as bytes, whatever the types say.
  name: entry.fileName as unknown as Buffer,
  flags: entry.generalPurposeBitFlag,
  packed: entry.compressedSize,
  unpacked: entry.uncompressedSize,
})

/** What is needed to read an entry and nothing else: there may be millions. */
function slim(entry: yauzl.Entry): yauzl.Entry {
  const kept = new yauzl.Entry()
  kept.relativeOffsetOfLocalHeader = entry.relativeOffsetOfLocalHeader
  kept.compressionMethod = entry.compressionMethod
  kept.generalPurposeBitFlag = entry.generalPurposeBitFlag
  kept.compressedSize = entry.compressedSize
  kept.uncompressedSize = entry.uncompressedSize
  return kept
}
