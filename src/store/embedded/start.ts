import type { FileHandle } from 'node:fs/promises'
import { mkdir, readFile, realpath, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { Log } from '#src/log.ts'
import { openPool, withDatabase } from '#store/db.ts'
import { type Binaries, findBinaries } from '#store/embedded/binaries.ts'
import {
  chooseSocketFolder,
  endStrays,
  ensureCluster,
  environment,
  superuser,
} from '#store/embedded/cluster.ts'
import {
  type Launch,
  chooseLaunch,
  choosePlace,
  moveBinaries,
  spawnOptions,
} from '#store/embedded/identity.ts'
import { lockFile } from '#store/embedded/lock.ts'
import { settings } from '#store/embedded/settings.ts'
import { StartupError } from '#store/startup-error.ts'

export type EmbeddedOptions = {
  dataDir: string
  log: Log
  maxConnections?: number
  /** False for tests only: a crash of the machine then loses the database. */
  durable?: boolean
  /** How to start it, if not as the machine allows best: for tests of the other ways. */
  launch?: Partial<Launch>
}

/**
 * Starts PostgreSQL in `dataDir`, on a unix socket that only this user may open. It is restarted
 * when it crashes, and ends with this process however this process ends. Call it on the main thread:
 * the kernel ties a child to the *thread* that started it.
 */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  const launch = { ...(await chooseLaunch()), ...options.launch }
  const dataDir = await makeDataDir(options.dataDir, launch.identity === 'nobody' ? 0o711 : 0o700)
  const lock = await lockFile(join(dataDir, 'lock'))
  try {
    const found = await findBinaries(dataDir)
    const key = Buffer.from(Bun.SHA256.hash(dataDir) as Uint8Array).toString('hex', 0, 6)
    const place = await choosePlace(launch, dataDir, key)
    const binaries = await moveBinaries(launch, found, place)
    if (launch.identity === 'nobody')
      options.log.warn(
        { database: join(place, 'postgres'), binaries: binaries.root },
        `user namespaces are refused here: PostgreSQL runs as uid 65534, with its data in ${join(place, 'postgres')}`,
      )
    const folder = join(place, 'postgres')
    const durable = options.durable ?? true
    await ensureCluster(launch, binaries, folder, durable)
    await endStrays(folder, options.log)
    const socket = await chooseSocketFolder(launch, folder, key)
    const postgres = new EmbeddedPostgres({
      launch,
      binaries,
      folder,
      ...socket,
      lock,
      log: options.log,
      args: settings({
        socketFolder: socket.socketFolder,
        maxConnections: options.maxConnections ?? 100,
        durable,
      }),
    })
    await postgres.start()
    return postgres
  } catch (error) {
    await lock.close()
    throw error
  }
}

async function makeDataDir(dataDir: string, mode: number): Promise<string> {
  try {
    await mkdir(dataDir, { recursive: true, mode })
    const path = await realpath(dataDir)
    const probe = join(path, `.laneway-${process.pid}`)
    await mkdir(probe)
    await rm(probe, { recursive: true })
    return path
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    throw new StartupError(`The data directory ${dataDir} cannot be written: ${reason}`, {
      cause: error,
    })
  }
}

type Parts = {
  launch: Launch
  binaries: Binaries
  folder: string
  socketFolder: string
  temporary: boolean
  lock: FileHandle
  log: Log
  args: string[]
}

const longestPause = 30_000
/** After this time of peace a crash counts as the first one. */
const peace = 60_000

/** A running PostgreSQL of ours. */
export class EmbeddedPostgres {
  /** Of the database `laneway`, for `openPool`. */
  readonly url: string
  /** Resolves when PostgreSQL was stopped by `stop`; crashes end in a restart. */
  readonly exited: Promise<void>

  readonly #parts: Parts
  readonly #ended = Promise.withResolvers<void>()
  #child: Bun.Subprocess | undefined
  #stopping = false
  /** The last things it said: the reason, if it does not come up. */
  #lastLines: string[] = []
  /** Ends when all that it said was read; a session that lives on may keep it open. */
  #reported: Promise<void> = Promise.resolve()
  #wake: (() => void) | undefined

  constructor(parts: Parts) {
    this.#parts = parts
    this.exited = this.#ended.promise
    this.url = `postgres://${superuser}@localhost/laneway?host=${encodeURIComponent(parts.socketFolder)}`
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  async start(): Promise<void> {
    const child = this.#spawn()
    if (!(await this.#isReady(child))) {
      await within(this.#reported, 500)
      throw new StartupError(`PostgreSQL does not start: ${this.#lastLines.join('; ')}`)
    }
    try {
      await ensureDatabase(this.url)
    } catch (error) {
      await this.stop()
      throw error
    }
    void this.#watch(child)
  }

  /** Stops PostgreSQL: cleanly if that takes less than `patience`, else leaving it to recover later. */
  async stop(patience = 3000): Promise<void> {
    if (this.#stopping) return this.exited
    this.#stopping = true
    this.#wake?.()
    const child = this.#child
    if (child) {
      for (const signal of ['SIGINT', 'SIGQUIT', 'SIGKILL'] as const) {
        child.kill(signal)
        if (await within(child.exited, patience)) break
      }
    }
    if (this.#parts.temporary) await rm(this.#parts.socketFolder, { recursive: true, force: true })
    await this.#parts.lock.close()
    this.#ended.resolve()
  }

  #spawn(): Bun.Subprocess {
    const { launch, binaries, folder, args } = this.#parts
    this.#lastLines = []
    const child = Bun.spawn({
      ...spawnOptions(launch, [join(binaries.root, 'bin', 'postgres'), '-D', folder, ...args]),
      env: environment(binaries),
      cwd: '/',
      // Its own process group: Ctrl-C is for us, and we stop PostgreSQL when we are done with it.
      detached: true,
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'pipe',
    })
    this.#child = child
    this.#reported = this.#report(child.stderr)
    return child
  }

  /** Waits until it accepts connections; false if it ended instead. A recovery may take its time. */
  async #isReady(child: Bun.Subprocess): Promise<boolean> {
    const file = join(this.#parts.folder, 'postmaster.pid')
    while (child.exitCode === null && child.signalCode === null) {
      const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n')
      if (lines[0] === String(child.pid) && lines[7]?.trim() === 'ready') return true
      await Bun.sleep(5)
    }
    return false
  }

  /** Restarts PostgreSQL for as long as it is not stopped on purpose, with growing pauses. */
  async #watch(first: Bun.Subprocess): Promise<void> {
    const { log, folder } = this.#parts
    let child = first
    let failures = 0
    while (!this.#stopping) {
      const started = Date.now()
      await child.exited
      if (this.#stopping) return
      await within(this.#reported, 500)
      if (Date.now() - started > peace) failures = 0
      const pause = Math.min(100 * 2 ** failures++, longestPause)
      log.error(
        { exitCode: child.exitCode, signal: child.signalCode, said: this.#lastLines, pause },
        'PostgreSQL ended; starting it again',
      )
      await this.#sleep(pause)
      if (this.#stopping) return
      await endStrays(folder, log).catch((error: unknown) => log.error({ err: error }))
      if (this.#stopping) return
      child = this.#spawn()
    }
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      this.#wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })
  }

  async #report(stream: ReadableStream<Uint8Array>): Promise<void> {
    let rest = ''
    const decoder = new TextDecoder()
    for await (const bytes of stream) {
      const lines = (rest + decoder.decode(bytes, { stream: true })).split('\n')
      rest = lines.pop()!
      for (const line of lines) if (line) this.#say(line)
    }
    if (rest) this.#say(rest)
  }

  #say(line: string): void {
    const [, level, message] = /^([A-Z]+): {2}(.*)$/.exec(line) ?? []
    this.#lastLines = [...this.#lastLines, line].slice(-5)
    const { log } = this.#parts
    // FATAL ends one session, and its client hears of it; PANIC ends them all.
    if (level === 'PANIC') log.error(message)
    else if (level === 'FATAL' || level === 'WARNING' || !level) log.warn(line)
    else log.debug(message)
  }
}

async function ensureDatabase(url: string): Promise<void> {
  const sql = openPool(withDatabase(url, 'postgres'), { max: 1 })
  try {
    const [row] = await sql`select 1 from pg_database where datname = 'laneway'`
    if (!row) await sql`create database laneway`
  } finally {
    await sql.end()
  }
}

async function within(promise: Promise<unknown>, ms: number): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(() => resolve(false), ms)
  })
  const done = await Promise.race([promise.then(() => true), late])
  clearTimeout(timer)
  return done
}
