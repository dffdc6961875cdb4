import { FederationEngine } from '#engine/federation/engine.ts'
import type { FederationWorkerCalls, FederationWorkerStart } from '#engine/federation/options.ts'
import { Channel } from '#engine/worker/channel.ts'
import { type Log, openLog } from '#src/log.ts'
import { ThreadMeter } from '#src/metrics/thread-meter.ts'
import { openServerPool } from '#src/server-pool.ts'
import { planOnce, type Pool } from '#store/db.ts'

/** The thread that makes every request to another server. */
declare const self: Worker

const meter = new ThreadMeter()
let running: { engine: FederationEngine; pool: Pool; log: Log } | undefined

function engine(): FederationEngine {
  if (!running) throw new Error('The federation worker was not started')
  return running.engine
}

async function start({
  databaseUrl,
  connections,
  waitMs = 0,
  options,
  log: logOptions,
}: FederationWorkerStart) {
  const log = openLog(logOptions, 'federation')
  const pool = openServerPool(databaseUrl, {
    max: connections,
    name: 'laneway-federation',
    waitMs,
    log,
    meter: meter.statements,
    session: planOnce,
  })
  try {
    const parts = { options, sql: pool, log, clock: Date.now }
    running = { engine: await FederationEngine.start(parts), pool, log }
  } catch (error) {
    await pool.end({ timeout: 1 })
    throw error
  }
  return null
}

async function stop() {
  await running?.engine.stop()
  await running?.pool.end({ timeout: 1 })
  running = undefined
  return null
}

new Channel<object, FederationWorkerCalls>(
  self,
  {
    start,
    stop,
    counters: async () => engine().counters(),
    measure: async () => [...engine().samples(), ...meter.samples()],
    request: (request) => engine().request(request),
    keys: (...args) => engine().keys(...args),
    keyDocuments: (...args) => engine().keyDocuments(...args),
    download: (download) => engine().downloads.fetch(download),
    askGateway: (request) => engine().gateways.ask(request),
    askAppservice: (request) => engine().appservices.ask(request),
  },
  {
    onSignal: (signal) => running?.engine.signal(signal),
    onFault: (error, method) => running?.log.error({ err: error, method }, 'a call failed'),
  },
)
