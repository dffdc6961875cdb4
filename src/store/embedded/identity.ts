import { chmod, chown, cp, lstat, mkdir, rename, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Binaries } from '#store/embedded/binaries.ts'

/**
 * PostgreSQL refuses to run as root, and as a user without a name. As whom it runs:
 * - `self`: this process's user.
 * - `namespace`: this user too, but PostgreSQL sees itself as nobody, so that every file stays ours
 *   and a closed home directory is no obstacle.
 * - `nobody`: uid 65534, where user namespaces are refused; data and binaries must then be at a
 *   place that this user can reach.
 */
export type Identity = 'self' | 'namespace' | 'nobody'

export const nobody = 65534

const asNobody = ['unshare', '--user', `--map-user=${nobody}`, `--map-group=${nobody}`]
const dieWithParent = ['setpriv', '--pdeathsig', 'INT']

export type Launch = { identity: Identity; dieWithParent: boolean }

/** Finds out how to start PostgreSQL here. */
export async function chooseLaunch(): Promise<Launch> {
  const [named, namespace, diesWithParent] = await Promise.all([
    succeeds(['id', '-un']),
    succeeds([...asNobody, 'true']),
    succeeds([...dieWithParent, 'true']),
  ])
  const root = process.getuid?.() === 0
  const identity = !root && named ? 'self' : namespace ? 'namespace' : root ? 'nobody' : 'self'
  return { identity, dieWithParent: diesWithParent }
}

async function succeeds(cmd: string[]): Promise<boolean> {
  if (!Bun.which(cmd[0]!)) return false
  const child = Bun.spawn({ cmd, stdin: 'ignore', stdout: 'ignore', stderr: 'ignore' })
  return (await child.exited) === 0
}

/** The options of `Bun.spawn` that run `command` as this launch says. */
export function spawnOptions(launch: Launch, command: string[]) {
  const cmd = [
    ...(launch.identity === 'namespace' ? asNobody : []),
    // Last: a change of credentials after it would clear the signal.
    ...(launch.dieWithParent ? dieWithParent : []),
    ...command,
  ]
  return { cmd, ...(launch.identity === 'nobody' && { uid: nobody, gid: nobody }) }
}

/** Hands a folder to the user that PostgreSQL runs as, closed to everybody else. */
export async function handOver(launch: Launch, folder: string): Promise<void> {
  await chmod(folder, 0o700)
  if (launch.identity === 'nobody') await chown(folder, nobody, nobody)
}

/**
 * Where the database lives: in the data directory, unless PostgreSQL must run as nobody, who cannot
 * reach it.
 */
export async function choosePlace(launch: Launch, dataDir: string, key: string): Promise<string> {
  if (launch.identity !== 'nobody' || (await isReachable(dataDir))) return dataDir
  const place = `/var/lib/laneway-${key}`
  await mkdir(place, { recursive: true, mode: 0o711 })
  return place
}

/** Copies the binaries to `place` when nobody cannot reach them where they are. */
export async function moveBinaries(
  launch: Launch,
  binaries: Binaries,
  place: string,
): Promise<Binaries> {
  if (launch.identity !== 'nobody' || (await isReachable(binaries.root))) return binaries
  const { size, mtimeMs } = await stat(join(binaries.root, 'bin', 'postgres'))
  const root = join(place, `postgres-${binaries.major}-${size}-${Math.round(mtimeMs)}`)
  const whole = await stat(root).catch(() => undefined)
  if (!whole) {
    const unfinished = `${root}.new`
    await cp(binaries.root, unfinished, { recursive: true, verbatimSymlinks: true, force: true })
    await rename(unfinished, root)
  }
  return { ...binaries, root }
}

/** Whether every folder on the way, and the last one, lets everybody in. */
async function isReachable(path: string): Promise<boolean> {
  const { mode } = await stat(path)
  if ((mode & 0o001) === 0) return false
  return path === dirname(path) || isReachable(dirname(path))
}

/** Whether a folder in a place that everybody may write to is ours, and no trap. */
export async function isOurs(launch: Launch, folder: string): Promise<boolean> {
  const entry = await lstat(folder)
  const owner = launch.identity === 'nobody' ? nobody : process.getuid?.()
  return entry.isDirectory() && entry.uid === owner && (entry.mode & 0o077) === 0
}
