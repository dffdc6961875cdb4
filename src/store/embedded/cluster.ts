import { mkdir, mkdtemp, readFile, readdir, readlink, rename, rm, unlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Log } from '#src/log.ts'
import type { Binaries } from '#store/embedded/binaries.ts'
import { type Launch, handOver, isOurs, spawnOptions } from '#store/embedded/identity.ts'
import { StartupError } from '#store/startup-error.ts'

export const superuser = 'laneway'

/** What PostgreSQL's programs get to know of our environment: nothing that changes what they do. */
export const environment = (binaries: Binaries): Record<string, string> => ({
  PATH: '/usr/local/bin:/usr/bin:/bin',
  LC_ALL: 'C',
  ...(binaries.libraries && { LD_LIBRARY_PATH: binaries.libraries }),
})

/** Makes the data directory of PostgreSQL if there is none; one of another major version is refused. */
export async function ensureCluster(
  launch: Launch,
  binaries: Binaries,
  folder: string,
  durable: boolean,
): Promise<void> {
  const version = await readFile(join(folder, 'PG_VERSION'), 'utf8').catch(ifMissing)
  if (version === undefined) return create(launch, binaries, folder, durable)
  if (version.trim() !== binaries.major)
    throw new StartupError(
      `${folder} was made by PostgreSQL ${version.trim()}, and this Laneway brings PostgreSQL ${binaries.major}: ` +
        'export the data with the release that made it, and import it into a new data directory',
    )
}

async function create(
  launch: Launch,
  binaries: Binaries,
  folder: string,
  durable: boolean,
): Promise<void> {
  // Made under another name first, so that an interrupted start leaves nothing that looks whole.
  const unfinished = `${folder}.new`
  await rm(unfinished, { recursive: true, force: true })
  await mkdir(unfinished, { recursive: true })
  await handOver(launch, unfinished)
  const child = Bun.spawn({
    ...spawnOptions(launch, [
      join(binaries.root, 'bin', 'initdb'),
      `--pgdata=${unfinished}`,
      `--username=${superuser}`,
      '--auth=trust',
      '--encoding=UTF8',
      // Independent of the system's locales, whose sort order changes between releases.
      '--locale=C',
      '--locale-provider=builtin',
      '--builtin-locale=C.UTF-8',
      '--data-checksums',
      ...(durable ? [] : ['--no-sync']),
    ]),
    env: environment(binaries),
    cwd: launch.identity === 'nobody' ? '/' : unfinished,
    stdin: 'ignore',
    stdout: 'ignore',
    stderr: 'pipe',
  })
  const [output, code] = await Promise.all([new Response(child.stderr).text(), child.exited])
  if (code !== 0) {
    await rm(unfinished, { recursive: true, force: true })
    throw new StartupError(
      `PostgreSQL could not make its data directory ${folder}: ${output.trim()}`,
    )
  }
  await rename(unfinished, folder)
}

/** `sun_path` holds 108 bytes with its NUL. */
const longestSocket = 107

/** Where the socket goes: in the data directory, or, when its path is too long, in a private folder. */
export async function chooseSocketFolder(
  launch: Launch,
  folder: string,
  key: string,
): Promise<{ socketFolder: string; temporary: boolean }> {
  if (fits(folder)) return { socketFolder: folder, temporary: false }
  const parent = fits(join(tmpdir(), `laneway-${key}-123456`)) ? tmpdir() : '/tmp'
  const wanted = join(parent, `laneway-${key}`)
  try {
    await mkdir(wanted, { mode: 0o700 })
    await handOver(launch, wanted)
    return { socketFolder: wanted, temporary: true }
  } catch (error) {
    if (codeOf(error) !== 'EEXIST') throw error
  }
  // Left by a server that was killed; or put there by somebody else, who must not own our socket.
  if (await isOurs(launch, wanted)) return { socketFolder: wanted, temporary: true }
  const other = await mkdtemp(`${wanted}-`)
  await handOver(launch, other)
  return { socketFolder: other, temporary: true }
}

const fits = (folder: string) => Buffer.byteLength(join(folder, '.s.PGSQL.5432')) <= longestSocket

/**
 * Ends what a killed server left running on this data directory. The caller holds the lock on it, so
 * whatever still runs there has no owner.
 */
export async function endStrays(folder: string, log: Log): Promise<void> {
  const pidFile = join(folder, 'postmaster.pid')
  const text = await readFile(pidFile, 'utf8').catch(ifMissing)
  if (text === undefined) return
  const postmaster = Number.parseInt(text, 10)

  let strays = await processesIn(folder)
  if (strays.length > 0) {
    log.warn({ processes: strays }, 'stopping the PostgreSQL that a killed server left behind')
    for (const [signal, patience] of [
      ['SIGINT', 10_000],
      ['SIGQUIT', 5000],
      ['SIGKILL', 5000],
    ] as const) {
      // SIGINT to the postmaster is a clean stop; to a backend it would only cancel a statement.
      for (const pid of strays)
        if (pid === postmaster || signal !== 'SIGINT') sendSignal(pid, signal)
      strays = await waitForEnd(folder, patience)
      if (strays.length === 0) break
    }
  }
  if (strays.length > 0)
    throw new StartupError(
      `A PostgreSQL is still running on ${folder} and does not stop: process ${strays.join(', ')}`,
    )
  // PostgreSQL removes a stale file itself, unless its number belongs to another process by now.
  if (process.platform === 'linux' && isAlive(postmaster)) await unlink(pidFile).catch(ifMissing)
}

async function waitForEnd(folder: string, patience: number): Promise<number[]> {
  const end = Date.now() + patience
  for (;;) {
    const left = await processesIn(folder)
    if (left.length === 0 || Date.now() > end) return left
    await Bun.sleep(20)
  }
}

/** The PostgreSQL processes that run in a data directory; each has it as its working directory. */
async function processesIn(folder: string): Promise<number[]> {
  const entries = await readdir('/proc').catch(() => [])
  const pids = entries.filter((entry) => /^\d+$/.test(entry))
  const found = await Promise.all(
    pids.map(async (pid) => {
      const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '')
      if (cwd !== folder) return false
      return (await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '')).trim() === 'postgres'
    }),
  )
  return pids.filter((_, index) => found[index]).map(Number)
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === 'EPERM'
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal)
  } catch (error) {
    if (codeOf(error) !== 'ESRCH') throw error
  }
}

const codeOf = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : ''

function ifMissing(error: unknown): undefined {
  if (codeOf(error) !== 'ENOENT') throw error
}
