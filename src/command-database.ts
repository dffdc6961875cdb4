import type { Config } from '#src/config.ts'
import { openDatabase } from '#src/database.ts'
import { openLog } from '#src/log.ts'
import { type Pool, openPool } from '#store/db.ts'
import { runningEmbedded } from '#store/embedded/running.ts'
import packageJson from '../package.json' with { type: 'json' }

/** The database for a command: that of a server that runs, or else our own for this moment. */
export async function openForCommand(
  config: Config,
  command: string,
): Promise<{ sql: Pool } & AsyncDisposable> {
  const running =
    config.database.url === undefined ? await runningEmbedded(config.data_dir) : undefined
  if (running !== undefined) {
    const sql = openPool(running, { max: 2, name: `laneway-${command}` })
    return { sql, [Symbol.asyncDispose]: () => sql.end({ timeout: 1 }) }
  }
  const log = openLog({ ...config.log, level: 'warn' })
  const database = await openDatabase(config, { log, release: packageJson.version, threads: 0 })
  return { sql: database.sql, [Symbol.asyncDispose]: database.stop }
}
