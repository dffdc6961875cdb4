import { createReadStream, createWriteStream } from 'node:fs'
import { mkdir, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { type Header, extract } from 'tar-stream'
import type { Problem } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'
import { openFolder } from './folder.ts'
import { isBombTogether } from './limits.ts'
import { isLitter, safeName } from './names.ts'

/**
 * A tar, packed or not. As nothing in it can be found without reading all before it, it is unpacked into a
 * folder of its own, which goes away in the end. One that is cut off gives what was read until there.
 */
export async function openTar(path: string, report: (problem: Problem) => void): Promise<Source> {
  const folder = await mkdtemp(join(tmpdir(), 'laneway-import-'))
  const packed = (await stat(path)).size
  const unpack = extract()
  const file = createReadStream(path)
  const fed = /\.(tgz|gz)$/i.test(path)
    ? pipeline(file, createGunzip(), unpack)
    : pipeline(file, unpack)
  // Told by the loop below too.
  fed.catch(() => undefined)
  let unpacked = 0
  try {
    for await (const entry of unpack) {
      unpacked += entry.header.size ?? 0
      if (isBombTogether(packed, unpacked)) {
        await rm(folder, { recursive: true, force: true })
        throw new Stop(
          `${path} unpacks to so much more than it is that it is not read: if you trust it, unpack it, and give its folder`,
        )
      }
      const target = targetOf(entry.header, report)
      if (target === undefined) {
        entry.resume()
        continue
      }
      await mkdir(join(folder, dirname(target)), { recursive: true })
      await pipeline(entry, createWriteStream(join(folder, target)))
    }
    await fed
  } catch (error) {
    if (error instanceof Stop) throw error
    report({
      class: 'malformed',
      reason: `The archive cannot be read further, the download may have been interrupted (${String(error)})`,
      place: { file: path },
      done: 'skipped',
    })
  }
  const source = await openFolder(folder)
  return { ...source, path, close: () => rm(folder, { recursive: true, force: true }) }
}

function targetOf(header: Header, report: (problem: Problem) => void): string | undefined {
  const refuse = (reason: string) => {
    report({ class: 'unsafe_archive', reason, place: { file: header.name }, done: 'skipped' })
    return undefined
  }
  if (header.type === 'directory' || isLitter(header.name)) return undefined
  // Extended headers and their like are read by the library.
  if (header.type !== 'file' && header.type !== 'contiguous-file')
    return refuse(`It is no file but a ${header.type}`)
  return safeName(header.name) ?? refuse('The name leads out of the archive')
}
