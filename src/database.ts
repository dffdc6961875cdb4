import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import { type Pool, openPool } from '#store/db.ts'
import { startEmbedded } from '#store/embedded/start.ts'
import { migrate } from '#store/migrate.ts'
import { claimServerName } from '#store/settings.ts'
import { StartupError } from '#store/startup-error.ts'

export type Database = {
  /** For the pools of other threads. */
  url: string
  /** Of the main thread. */
  sql: Pool
  /** The database was made by this start. */
  isNew: boolean
  stop: () => Promise<void>
}

const migrations = new URL('../sql', import.meta.url).pathname
/** Connections that tools and restarts may take beside our pools. */
const spareConnections = 20

/** Connects to the database that the configuration names, or starts our own; brings it up to date. */
export async function openDatabase(
  config: Config,
  options: { log: Log; release: string; threads: number },
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
  const sql = openPool(url, { max: main, name: 'laneway-main' })
  const stop = async () => {
    await sql.end({ timeout: 1 })
    await embedded?.stop()
  }
  try {
    await reach(sql)
    await migrate(sql, migrations, options.release)
    return { url, sql, isNew: await claimServerName(sql, config.server_name), stop }
  } catch (error) {
    await stop()
    throw error
  }
}

async function reach(sql: Pool): Promise<void> {
  try {
    await sql`select 1`
  } catch (error) {
    const reason = error instanceof Error ? error.message || error.name : String(error)
    throw new StartupError(
      `The database cannot be reached: ${reason}. Check [database] url, or DATABASE_URL.`,
      { cause: error },
    )
  }
}
