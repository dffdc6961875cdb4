import type { Log } from '#src/log.ts'
import type { Pool, PoolOptions } from '#store/db.ts'
import { openPatientPool } from '#store/patience.ts'
import type { StatementMeter } from '#store/statement-meter.ts'

export type ServerPoolOptions = {
  max: number
  name: string
  /** Milliseconds that statements wait for a database that went away. */
  waitMs: number
  log: Log
  session?: PoolOptions['session']
  /** Counts its statements. */
  meter?: StatementMeter
}

/** Opens the pool of one thread of the server, and logs when its database goes and comes back. */
export const openServerPool = (
  url: string,
  { max, name, waitMs, log, session = {}, meter }: ServerPoolOptions,
): Pool =>
  openPatientPool(
    url,
    { max, name, session },
    {
      waitMs,
      ...(meter && { meter }),
      onAway: (error) => log.warn(`the database is away: ${reasonOf(error)}`),
      onBack: (awayMs) => log.info({ away_ms: awayMs }, 'the database is back'),
    },
  )

const reasonOf = (error: unknown) => (error instanceof Error ? error.message : String(error))
