import { mkdir, open, rename, stat, unlink } from 'node:fs/promises'
import { dirname, join } from 'node:path'

/** The bytes of media by their SHA-256, in hexadecimal digits. Nothing else ever names a file. */
export interface MediaFiles {
  /** Takes over a finished file of this machine; once it answers, the content outlives a power cut. */
  put(sha256: string, path: string): Promise<void>
  has(sha256: string): Promise<boolean>
  /** The content, which is read when it is sent; a part of it by `slice`. */
  get(sha256: string): Blob
  /** The content as a file of this machine, for work that needs one. */
  local(sha256: string): Promise<LocalFile>
  /** Takes the content away; it may be gone already. */
  delete(sha256: string): Promise<void>
}

export type LocalFile = { path: string; done: () => Promise<void> }

/** Media in a directory of this machine, in folders by the first digits: 65,536 of them at most. */
export class DiskFiles implements MediaFiles {
  readonly #directory: string

  constructor(directory: string) {
    this.#directory = directory
  }

  async put(sha256: string, path: string): Promise<void> {
    const place = this.#placeOf(sha256)
    const folder = dirname(place)
    const firstMade = await mkdir(folder, { recursive: true, mode: 0o700 })
    await rename(path, place)
    await syncFolder(folder)
    // Folders that were made have their names in those above.
    if (firstMade === undefined) return
    for (let each = folder; each.length >= firstMade.length; each = dirname(each))
      await syncFolder(dirname(each))
  }

  has(sha256: string): Promise<boolean> {
    return stat(this.#placeOf(sha256)).then(
      (found) => found.isFile(),
      (error: unknown) => {
        if (isMissing(error)) return false
        throw error
      },
    )
  }

  get(sha256: string): Blob {
    return Bun.file(this.#placeOf(sha256))
  }

  async local(sha256: string): Promise<LocalFile> {
    return { path: this.#placeOf(sha256), done: async () => {} }
  }

  async delete(sha256: string): Promise<void> {
    await unlink(this.#placeOf(sha256)).catch((error: unknown) => {
      if (!isMissing(error)) throw error
    })
  }

  #placeOf(sha256: string): string {
    if (!/^[0-9a-f]{64}$/.test(sha256)) throw new Error('Not the name of a media file')
    return join(this.#directory, sha256.slice(0, 2), sha256.slice(2, 4), sha256)
  }
}

const isMissing = (error: unknown): boolean =>
  error instanceof Error && 'code' in error && error.code === 'ENOENT'

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}
