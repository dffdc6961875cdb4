import type { Appservices } from '#core/appservice.ts'
import { Bridges } from '#engine/appservice/bridges.ts'
import type { FederationThread } from '#engine/federation/thread.ts'
import type { Positions } from '#engine/read/positions.ts'
import type { Config } from '#src/config.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'

type BridgeParts = {
  config: Config
  appservices: Appservices
  sql: Pool
  log: Log
  clock: () => number
  positions: Positions
  federation: Pick<FederationThread, 'askAppservice'>
  /** What is started is put here, to be stopped in reverse. */
  started: AsyncDisposableStack
}

const day = 86_400_000

/** What sends application services what interests them, asked for by the thread that goes outside. */
export async function startBridges(parts: BridgeParts): Promise<Bridges> {
  const { config, appservices, sql, log, clock, positions, federation, started } = parts
  const options = config.appservices
  const bridges = await Bridges.start(appservices, {
    sql,
    log,
    clock,
    serverName: config.server_name,
    positions,
    ask: (request) => federation.askAppservice(request),
    deadlineMs: options.request_timeout_seconds * 1000,
    firstMs: options.retry_min_seconds * 1000,
    longestMs: options.retry_max_seconds * 1000,
    maxQueued: options.max_queued_events,
    keepMs: options.keep_days * day,
  })
  started.defer(() => bridges.stop())
  return bridges
}
