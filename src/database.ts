import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import { openServerPool } from '#src/server-pool.ts'
import { type Pool, isStartingUp, openPool, planOnce } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { migrate } from '#store/migrate.ts'
import { claimServerName } from '#store/settings.ts'
import type { StatementMeter } from '#store/statement-meter.ts'
import { StartupError } from '#store/startup-error.ts'

export type Database = {
  /** For the pools of other threads. */
  url: string
  /** Of the main thread. */
  sql: Pool
  /** How long pools wait for a database that went away. */
  waitMs: number
  /** The database was made by this start. */
  isNew: boolean
  stop: () => Promise<void>
}

const migrations = new URL('../sql', import.meta.url).pathname
/** Connections that tools and restarts may take beside our pools. */
const spareConnections = 20
/** How long a start waits for a database that says that it is starting up. */
const startUpMs = 10_000

/** Connects to the database that the configuration names, or starts our own; brings it up to date. */
export async function openDatabase(
  config: Config,
  options: { log: Log; release: string; threads: number; meter?: StatementMeter },
): Promise<Database> {
  const { main_connections: main, worker_connections: worker } = config.database
  const embedded =
    config.database.url === undefined
      ? await startEmbedded({
          dataDir: config.data_dir,
          log: options.log,
          maxConnections: main + options.threads * worker + spareConnections,
        })
      : undefined
  const url = embedded?.url ?? config.database.url!
  const waitMs = config.database.wait_seconds * 1000
  const sql = openServerPool(url, {
    max: main,
    name: 'laneway-main',
    waitMs,
    log: options.log,
    ...(options.meter && { meter: options.meter }),
    session: planOnce,
  })
  const stop = async () => {
    await sql.end({ timeout: 1 })
    await embedded?.stop()
  }
  try {
    await reach(url, options.log)
    await migrate(sql, migrations, options.release)
    const isNew = await claimServerName(sql, config.server_name)
    return { url, sql, waitMs, isNew, stop }
  } catch (error) {
    await stop()
    throw error
  }
}

/** A database that starts together with us needs a moment; any other fault is told at once. */
async function reach(url: string, log: Log): Promise<void> {
  const sql = openPool(url, { max: 1, name: 'laneway-start' })
  try {
    for (const deadline = performance.now() + startUpMs; ; await Bun.sleep(200)) {
      try {
        await sql`select 1`
        return
      } catch (error) {
        if (!isStartingUp(error) || performance.now() > deadline) throw error
        log.warn('the database is starting up')
      }
    }
  } catch (error) {
    const reason = error instanceof Error ? error.message || error.name : String(error)
    throw new StartupError(
      `The database cannot be reached: ${reason}. Check [database] url, or DATABASE_URL.`,
      { cause: error },
    )
  } finally {
    await sql.end({ timeout: 1 })
  }
}
