import { stat } from 'node:fs/promises'
import type { Problem } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'
import { openFile, openFolder } from './folder.ts'
import { openTar } from './tar.ts'
import { openZip } from './zip.ts'

/** The files of an export; what is unsafe in an archive is reported, and not among them. */
export async function openSource(
  path: string,
  report: (problem: Problem) => void,
): Promise<Source> {
  const found = await stat(path).catch(() => undefined)
  if (!found) throw new Stop(`There is no file or folder ${path}: give the path of an export`)
  if (found.isDirectory()) return openFolder(path)
  const magic = new Uint8Array(await Bun.file(path).slice(0, 4).arrayBuffer())
  if (magic[0] === 0x50 && magic[1] === 0x4b && magic[2]! <= 8) return openZip(path, report)
  if (/\.(tar|tgz|tar\.gz)$/i.test(path)) return openTar(path, report)
  return openFile(path)
}
