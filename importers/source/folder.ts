import { lstat, open, readdir, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import type { Entry, Source } from '#importers/source.ts'
import { byName, isLitter } from './names.ts'

/** A folder and all that lies in it. Links are not followed: they could lead anywhere. */
export async function openFolder(path: string): Promise<Source> {
  const entries: Entry[] = []
  const walk = async (folder: string) => {
    for (const each of await readdir(join(path, folder), { withFileTypes: true })) {
      const name = folder ? `${folder}/${each.name}` : each.name
      if (isLitter(name)) continue
      if (each.isDirectory()) await walk(name)
      else if (each.isFile()) entries.push({ name, size: (await lstat(join(path, name))).size })
    }
  }
  await walk('')
  return filesOf(path, path, entries.sort(byName))
}

/** A single file, with the folder that an exporter put its attachments in. */
export async function openFile(path: string): Promise<Source> {
  const name = basename(path)
  const folder = dirname(path)
  const beside = `${name}_Files`
  const found = await stat(join(folder, beside)).catch(() => undefined)
  const attachments = found?.isDirectory() ? (await openFolder(join(folder, beside))).entries : []
  return filesOf(path, folder, [
    { name, size: (await stat(path)).size },
    ...attachments.map((each) => ({ ...each, name: `${beside}/${each.name}` })),
  ])
}

function filesOf(path: string, folder: string, entries: readonly Entry[]): Source {
  const names = new Set(entries.map((each) => each.name))
  const fileOf = (name: string) => {
    if (!names.has(name)) throw new Error(`There is no ${name} in the export`)
    return join(folder, name)
  }
  return {
    path,
    entries,
    has: (name) => names.has(name),
    async head(name, size = 4096) {
      const file = await open(fileOf(name))
      try {
        const { bytesRead, buffer } = await file.read(new Uint8Array(size), 0, size, 0)
        return buffer.subarray(0, bytesRead)
      } finally {
        await file.close()
      }
    },
    async *open(name) {
      const file = await open(fileOf(name))
      try {
        for (;;) {
          const { bytesRead, buffer } = await file.read(new Uint8Array(pieceSize), 0, pieceSize)
          if (bytesRead === 0) return
          yield buffer.subarray(0, bytesRead)
        }
      } finally {
        await file.close()
      }
    },
    close: () => Promise.resolve(),
  }
}

const pieceSize = 256 * 1024
