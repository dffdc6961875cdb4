import { rmSync } from 'node:fs'
import { type FileHandle, chmod, mkdtemp, readdir, rm, stat, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { lockFile } from '#store/embedded/lock.ts'

/** Everything that a run of tests writes is in one folder. */
type RunFolder = { path: string; lock: FileHandle }

const prefix = 'laneway-test-'
let current: Promise<RunFolder> | undefined

/** A new folder for a test, which is gone after the run, however that ends. */
export async function newFolder(name: string): Promise<string> {
  current ??= openRunFolder()
  return mkdtemp(join((await current).path, `${name}-`))
}

/** Removes everything; test/setup.ts calls it after the last file. */
export async function removeFolders(): Promise<void> {
  const open = await current?.catch(() => undefined)
  current = undefined
  if (!open) return
  await rm(open.path, { recursive: true, force: true, maxRetries: 5 })
  await open.lock.close()
}

async function openRunFolder(): Promise<RunFolder> {
  const parent = await fastFolder()
  await removeLeftovers(parent)
  const path = await mkdtemp(join(parent, prefix))
  const lock = await lockFile(join(path, 'lock'))
  // Tests start programs as other users, who come through here.
  await chmod(path, 0o755)
  // A run that is cut short.
  process.once('exit', () => rmSync(path, { recursive: true, force: true }))
  return { path, lock }
}

/** Memory, if there is plenty: on a disk a database takes a quarter of a second. */
async function fastFolder(): Promise<string> {
  const memory = await statfs('/dev/shm').catch(() => undefined)
  return memory && memory.bavail * memory.bsize > 2 * 2 ** 30 ? '/dev/shm' : tmpdir()
}

/** Removes what killed runs left behind; the folder of one that lives is locked. */
async function removeLeftovers(parent: string): Promise<void> {
  const names = (await readdir(parent)).filter((name) => name.startsWith(prefix))
  await Promise.all(
    names.map(async (name) => {
      const folder = join(parent, name)
      // A run that has just made its folder may not have locked it yet.
      const entry = await stat(folder).catch(() => undefined)
      if (!entry || Date.now() - entry.mtimeMs < 600_000) return
      const lock = await lockFile(join(folder, 'lock')).catch(() => undefined)
      if (!lock) return
      await rm(folder, { recursive: true, force: true }).catch(() => {})
      await lock.close()
    }),
  )
}
