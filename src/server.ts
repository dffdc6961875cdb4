import { availableParallelism } from 'node:os'
import { type App, mount } from '#api/http/mount.ts'
import type { ServerCheck } from '#api/http/authenticate.ts'
import { KeyWaits } from '#api/http/key-waits.ts'
import { RequestTimes } from '#api/http/request-times.ts'
import { serverCheck } from '#api/http/x-matrix.ts'
import { ops } from '#api/index.ts'
import { withSockets } from '#src/appservice-sockets.ts'
import type { Config, ListenerConfig } from '#src/config.ts'
import { loadAppservices } from '#src/config/appservices.ts'
import type { Context } from '#src/context.ts'
import { createContext } from '#src/create-context.ts'
import { openDatabase } from '#src/database.ts'
import { type Listening, listen } from '#src/listen.ts'
import type { Log } from '#src/log.ts'
import { ThreadMeter } from '#src/metrics/thread-meter.ts'
import { starting } from '#src/starting.ts'

export type Server = {
  context: Context
  listening: Listening[]
  /** The database was made by this start. */
  isNew: boolean
  stop: () => Promise<void>
}

export type ServerOptions = {
  log: Log
  version: string
  /** Requests that the runtime allows at once. */
  maxRequests?: number | undefined
}

/**
 * Starts everything in the order in which one thing stands on another, and stops it in reverse: what
 * was started is stopped when a later step fails.
 */
export async function startServer(
  config: Config,
  { log, version, maxRequests = 256 }: ServerOptions,
): Promise<Server> {
  await using started = new AsyncDisposableStack()
  const appservices = await loadAppservices(config)
  const roomWorkers = config.workers.rooms || Math.max(1, availableParallelism() - 1)
  const listening = await listenAll(config, log, started)
  const meter = new ThreadMeter()
  started.defer(() => meter.stop())
  const database = await openDatabase(config, {
    log,
    release: version,
    threads: roomWorkers + 1,
    meter: meter.statements,
  })
  started.defer(() => database.stop())
  const requests = new RequestTimes()
  const keyWaits = new KeyWaits()
  const context = await createContext({
    config,
    appservices,
    log,
    database,
    roomWorkers,
    maxRequests,
    measures: { meter, requests, keyWaits },
    started,
  })

  const heardFrom = (server: string) => context.signal({ s: 'heard-from', servers: [server] })
  for (const [index, listener] of config.listeners.entries()) {
    const each = listening[index]!
    // Before all that is behind it.
    started.defer(() => each.stop())
    each.serve(appFor(context, listener, requests, serverCheck(heardFrom, keyWaits)))
  }
  // Before the listeners, which would wait for them.
  started.defer(() => context.bridges.hangUp())
  const running = started.move()
  return { context, listening, isNew: database.isNew, stop: () => running.disposeAsync() }
}

/** Opens all listeners, first of all: whoever asks hears that the server is starting. */
async function listenAll(
  config: Config,
  log: Log,
  started: AsyncDisposableStack,
): Promise<Listening[]> {
  const listening: Listening[] = []
  const maxUploadBytes = config.media.max_upload_bytes
  for (const listener of config.listeners) {
    const each = await listen(listener, starting, { log, maxUploadBytes })
    started.defer(() => each.stop())
    listening.push(each)
  }
  return listening
}

function appFor(
  context: Context,
  listener: ListenerConfig,
  requests: RequestTimes,
  checkServer: ServerCheck,
): App {
  const { enabled } = context.config.federation
  const app = mount(context, ops, {
    serves: listener.serves.filter((api) => enabled || api !== 'federation'),
    trustedProxies: listener.trusted_proxies,
    checkServer,
    requests,
  })
  return listener.serves.includes('client') ? withSockets(context, app) : app
}
