import { availableParallelism } from 'node:os'
import { RateLimits } from '#api/http/rate-limit.ts'
import { type App, mount } from '#api/http/mount.ts'
import { serverCheck } from '#api/http/x-matrix.ts'
import { ops } from '#api/index.ts'
import { encodeBase64 } from '#core/base64.ts'
import { takeEdus } from '#engine/user/take-edus.ts'
import { Intake } from '#engine/federation/intake.ts'
import { loadOwnKeys } from '#engine/federation/own-keys.ts'
import { FederationThread } from '#engine/federation/thread.ts'
import { Positions } from '#engine/read/positions.ts'
import { StoredSnapshots } from '#engine/read/snapshots.ts'
import { SentMembers } from '#engine/sync/sent-members.ts'
import { Accounts } from '#engine/user/accounts.ts'
import { AccessTokens } from '#engine/user/access-tokens.ts'
import { UserShards } from '#engine/user/owner.ts'
import { ProfileNews } from '#engine/user/profile-news.ts'
import { startSweeping } from '#engine/user/sweep.ts'
import { RoomPool } from '#engine/worker/pool.ts'
import type { Signal } from '#engine/worker/protocol.ts'
import { type Config, type ListenerConfig, budgetsOf } from '#src/config.ts'
import type { Context } from '#src/context.ts'
import { type Database, openDatabase } from '#src/database.ts'
import { federationOptions } from '#src/federation-options.ts'
import { type Listening, listen } from '#src/listen.ts'
import type { Log } from '#src/log.ts'
import { shardCount } from '#store/settings.ts'

export type Server = { context: Context; listening: Listening[]; stop: () => Promise<void> }

export type ServerOptions = {
  log: Log
  version: string
  /** Requests that the runtime allows at once. */
  maxRequests?: number | undefined
}

const entry = (name: string) => new URL(`./${name}`, import.meta.url).href

/**
 * Starts everything in the order in which one thing stands on another, and stops it in reverse: what
 * was started is stopped when a later step fails.
 */
export async function startServer(
  config: Config,
  { log, version, maxRequests = 256 }: ServerOptions,
): Promise<Server> {
  await using started = new AsyncDisposableStack()
  const roomWorkers = config.workers.rooms || Math.max(1, availableParallelism() - 1)
  const database = await openDatabase(config, { log, release: version, threads: roomWorkers + 1 })
  started.defer(() => database.stop())
  const context = await createContext(config, {
    log,
    database,
    roomWorkers,
    maxRequests,
    started,
  })

  const heardFrom = (server: string) => context.signal({ s: 'heard-from', servers: [server] })
  const listening: Listening[] = []
  for (const listener of config.listeners) {
    const each = await listen(listener, appFor(context, listener, heardFrom))
    started.defer(() => each.stop())
    listening.push(each)
  }
  greet(config, log, { listening, isNew: database.isNew, version })
  const running = started.move()
  return { context, listening, stop: () => running.disposeAsync() }
}

type Parts = {
  log: Log
  database: Database
  roomWorkers: number
  maxRequests: number
  started: AsyncDisposableStack
}

/** All wiring, in dependency order. */
async function createContext(
  config: Config,
  { log, database, roomWorkers, maxRequests, started }: Parts,
): Promise<Context & { signal: (signal: Signal) => void }> {
  const { sql } = database
  const serverName = config.server_name
  const clock = Date.now
  const ownKeys = await loadOwnKeys(sql, clock)

  const positions = new Positions(sql, { serverName, log })
  await positions.start()
  started.defer(() => positions.close())

  const federation = new FederationThread({
    entry: entry('federation-worker.ts'),
    start: {
      databaseUrl: database.url,
      connections: config.database.worker_connections,
      options: await federationOptions(config, maxRequests),
      log: config.log,
    },
    onFault: (error) => log.error({ err: error }, 'the federation worker failed'),
  })
  await federation.start()
  started.defer(() => federation.stop())

  const onSignal = (signal: Signal) => {
    if (signal.s === 'rooms-at') positions.advanceRooms(signal.positions)
    federation.signal(signal)
  }
  const rooms = new RoomPool({
    workers: roomWorkers,
    shards: await shardCount(sql),
    entry: entry('room-worker.ts'),
    start: {
      databaseUrl: database.url,
      connections: config.database.worker_connections,
      log: config.log,
      owner: `${process.pid}@${serverName}`,
      serverName,
      signingKey: { keyId: ownKeys.current.keyId, seed: encodeBase64(ownKeys.current.seed) },
      limits: {},
    },
    federation,
    onSignal,
    onFault: (error, where) => log.error({ err: error }, `a fault in ${where}`),
  })
  await rooms.start()
  started.defer(() => rooms.stop())

  const users = new UserShards(sql, {
    onCommit: (pairs) => positions.advanceUsers(pairs),
    onFault: (error, method) => log.error({ err: error, method }, 'a change of a user failed'),
  })
  started.defer(() => users.close())
  started.defer(
    startSweeping(sql, clock, (error) => log.warn({ err: error }, 'Could not drop what is old')),
  )

  const tokens = new AccessTokens(sql, {
    onFault: (error) => log.warn({ err: error }, 'Could not note which devices are in use'),
  })
  const { memory_kib: memoryKib, iterations } = config.passwords
  const accounts = new Accounts({
    sql,
    users,
    tokens,
    serverName,
    clock,
    cost: { memoryKib, iterations },
  })
  const profileNews = new ProfileNews({
    sql,
    rooms,
    onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
    onFault: (error, roomId) =>
      log.warn({ err: error, room: roomId }, 'a room was not told of a new profile'),
  })
  started.defer(() => profileNews.close())

  const intake = new Intake({
    serverName,
    sql,
    log,
    clock,
    rooms,
    takeEdus: (origin, edus) => takeEdus(users, serverName, clock, origin, edus),
  })
  started.defer(() => intake.stop())

  return {
    config,
    serverName,
    log,
    clock,
    sql,
    signingKey: ownKeys.current,
    ownKeys,
    intake,
    rooms,
    users,
    federation,
    tokens,
    accounts,
    profileNews,
    limits: new RateLimits(budgetsOf(config), clock),
    positions,
    snapshots: new StoredSnapshots(),
    sentMembers: new SentMembers(),
    signal: (signal) => federation.signal(signal),
  }
}

function appFor(
  context: Context,
  listener: ListenerConfig,
  heardFrom: (server: string) => void,
): App {
  const { enabled } = context.config.federation
  return mount(context, ops, {
    serves: listener.serves.filter((api) => enabled || api !== 'federation'),
    trustedProxies: listener.trusted_proxies,
    checkServer: serverCheck(heardFrom),
  })
}

/** What somebody who starts the server for the first time wants to know. */
function greet(
  config: Config,
  log: Log,
  { listening, isNew, version }: { listening: Listening[]; isNew: boolean; version: string },
): void {
  const urls = listening.map(
    ({ address, port, tls }) =>
      `http${tls ? 's' : ''}://${address.includes(':') ? `[${address}]` : address}:${port}`,
  )
  log.info(
    { version, server_name: config.server_name, listening: urls },
    `listening on ${urls.join(', ')}`,
  )
  if (!isNew) return
  const { enabled } = config.registration
  log.info(
    `This server is new. Registration is ${enabled ? 'open' : 'closed'}. Make the first account, an administrator: bun run server user add NAME --admin`,
  )
}
