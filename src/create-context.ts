import type { Appservices } from '#core/appservice.ts'
import { encodeBase64 } from '#core/base64.ts'
import { Intake } from '#engine/federation/intake.ts'
import { type OwnKeys, startOwnKeys } from '#engine/federation/own-keys.ts'
import { FederationThread } from '#engine/federation/thread.ts'
import { ErasedUsers } from '#engine/read/erased.ts'
import { queryHierarchy } from '#engine/federation/remote-queries.ts'
import { RemoteSpaces } from '#engine/read/remote-spaces.ts'
import { EventIndex } from '#engine/read/event-index.ts'
import { Positions } from '#engine/read/positions.ts'
import { StoredSnapshots } from '#engine/read/snapshots.ts'
import { SentMembers } from '#engine/sync/sent-members.ts'
import { Sliding } from '#engine/sync/sliding/sliding.ts'
import { UnreadCounts } from '#engine/sync/unread.ts'
import { UserFacts } from '#engine/sync/user-facts.ts'
import { AccessTokens } from '#engine/user/access-tokens.ts'
import { makeSenders } from '#engine/user/appservice-senders.ts'
import { Departures } from '#engine/user/departures.ts'
import { GuestRooms } from '#engine/user/guest-rooms.ts'
import { Introductions } from '#engine/user/keys/introductions.ts'
import { Keys } from '#engine/user/keys/keys.ts'
import { Resync } from '#engine/user/keys/resync.ts'
import { UserShards } from '#engine/user/owner.ts'
import type { Mail } from '#engine/user/mail.ts'
import { ProfileNews } from '#engine/user/profile-news.ts'
import { startSweeping } from '#engine/user/sweep.ts'
import { SyncFilters } from '#engine/user/sync-filters.ts'
import { takeEdus } from '#engine/user/take-edus.ts'
import { RoomPool } from '#engine/worker/pool.ts'
import type { Rooms, Signal } from '#engine/worker/protocol.ts'
import { RateLimits } from '#api/http/rate-limit.ts'
import type { KeyWaits } from '#api/http/key-waits.ts'
import type { RequestTimes } from '#api/http/request-times.ts'
import { startBridges } from '#src/bridges.ts'
import { makeAccounts, makeMail } from '#src/accounts.ts'
import { type Config, budgetsOf } from '#src/config.ts'
import type { Context } from '#src/context.ts'
import type { Database } from '#src/database.ts'
import { federationOptions } from '#src/federation-options.ts'
import type { Log } from '#src/log.ts'
import { startLive, takePassing } from '#src/live.ts'
import { startMedia } from '#src/media.ts'
import { Seeing } from '#src/metrics/seeing.ts'
import type { ThreadMeter } from '#src/metrics/thread-meter.ts'
import { startDeletions } from '#src/room-deletions.ts'
import { askGateways, startPush } from '#src/push.ts'
import { shardCount } from '#store/settings.ts'

export type Parts = {
  config: Config
  appservices: Appservices
  log: Log
  database: Database
  roomWorkers: number
  /** Requests to other servers that the runtime allows at once. */
  maxRequests: number
  measures: { meter: ThreadMeter; requests: RequestTimes; keyWaits: KeyWaits }
  /** What is started is put here, to be stopped in reverse. */
  started: AsyncDisposableStack
}

/** Where the depths of messages begin: other servers take up to 2^53 − 1 of them. */
const importGap = 2 ** 42
const clock = Date.now
const entry = (name: string) => new URL(`./${name}`, import.meta.url).href

/** Everything that handlers use, started and wired in dependency order. */
export async function createContext(parts: Parts): Promise<Context> {
  const { config, appservices, log, database, measures, started } = parts
  const { sql } = database
  const serverName = config.server_name
  const ownKeys = await startOwnKeys(sql, clock)

  const { positions, eventIndex, onRooms } = await startReading(parts)
  const federation = await startFederation(parts)
  const rooms = await startRooms(parts, ownKeys, federation, (signal) => {
    if (signal.s === 'rooms-at') onRooms(signal.positions)
    federation.signal(signal)
  })
  const { mail, ...owners } = await startUsers(parts, rooms, positions, federation)
  const { keys, resync } = startKeys(parts, owners.users, federation, positions)
  await makeSenders({ sql, users: owners.users, clock }, appservices)

  const shared = { config, sql, log, clock, positions, started, users: owners.users }
  const { worker: mediaWorker, ...media } = await startMedia({ ...shared, federation })
  const bridges = await startBridges({ ...shared, appservices, federation })
  positions.watchNews(() => bridges.tell())
  const inRooms = { serverName, federation, bridges, rooms: () => intake.rooms }
  const live = await startLive({ ...shared, ...inRooms })
  bridges.watch(live)
  const kept = memories()
  const ask = askGateways(federation)
  const push = await startPush({ ...shared, unread: kept.unread, ask, mail })
  const passing = takePassing({ sql, log }, live, inRooms.rooms)

  const intake: Intake = startIntake(parts, rooms, (origin, edus) =>
    takeEdus(
      {
        sql,
        users: owners.users,
        serverName,
        clock,
        onDeviceLists: () => resync.wake(),
        onPassing: passing,
      },
      origin,
      edus,
    ),
  )

  const queues = queuesOf({ ...owners, ...measures, ...media, mail, keys })
  const watched = { queues, rooms, federation, intake, push, mediaWorker, bridges }
  return {
    config,
    serverName,
    log,
    appservices,
    bridges,
    clock,
    sql,
    signingKey: ownKeys.current,
    ownKeys,
    intake,
    rooms,
    federation,
    ...owners,
    ...media,
    ...live,
    keys,
    seeing: new Seeing({ ...shared, ...measures, ...watched }),
    limits: new RateLimits(budgetsOf(config), clock),
    positions,
    eventIndex,
    roomDeletions: startDeletions(parts, rooms, positions, eventIndex),
    ...kept,
    syncFilters: new SyncFilters(sql),
    remoteSpaces: new RemoteSpaces(
      (destination, roomId, deadlineMs) =>
        queryHierarchy(federation, destination, roomId, { deadlineMs }),
      clock,
    ),
    signal: (signal) => federation.signal(signal),
  }
}

/** Queues that have no family of their own in what is measured. */
const queuesOf = (
  parts: Pick<Context, 'accounts' | 'profileNews' | 'keys' | 'media'> & {
    mail: Mail | undefined
    keyWaits: KeyWaits
  },
) => ({
  passwords: parts.accounts,
  emails: parts.mail,
  profile_changes: parts.profileNews,
  key_queries: parts.keys,
  server_keys: parts.keyWaits,
  uploads: parts.media.awaited,
})

/** What is kept in memory of what was read, and of what clients were told. */
const memories = () => ({
  snapshots: new StoredSnapshots(),
  sentMembers: new SentMembers(),
  sliding: new Sliding(),
  unread: new UnreadCounts(),
  facts: new UserFacts(),
})

/** What takes in the transactions of other servers. */
function startIntake(
  { config, log, database: { sql }, started }: Parts,
  rooms: Rooms,
  take: ConstructorParameters<typeof Intake>[0]['takeEdus'],
): Intake {
  const serverName = config.server_name
  const intake = new Intake({ serverName, sql, log, clock, rooms, takeEdus: take })
  started.defer(() => intake.stop())
  return intake
}

/** What follows the shards of rooms and users, for those who read them. */
async function startReading({ config, log, database: { sql }, started }: Parts) {
  const positions = new Positions(sql, { serverName: config.server_name, log })
  await positions.start()
  started.defer(() => positions.close())
  const eventIndex = new EventIndex({ sql, log })
  await eventIndex.start()
  started.defer(() => eventIndex.stop())
  const onRooms: Positions['advanceRooms'] = (pairs) => {
    positions.advanceRooms(pairs)
    eventIndex.tell()
  }
  return { positions, eventIndex, onRooms }
}

/** The thread that makes every request to another server. */
async function startFederation({
  config,
  log,
  database,
  maxRequests,
  started,
}: Parts): Promise<FederationThread> {
  const federation = new FederationThread({
    entry: entry('federation-worker.ts'),
    start: {
      databaseUrl: database.url,
      connections: config.database.worker_connections,
      waitMs: database.waitMs,
      options: await federationOptions(config, maxRequests),
      log: config.log,
    },
    onFault: (error) => log.error({ err: error }, 'the federation worker failed'),
  })
  await federation.start()
  started.defer(() => federation.stop())
  return federation
}

/** The threads that write rooms. */
async function startRooms(
  { config, log, database, roomWorkers, started }: Parts,
  ownKeys: OwnKeys,
  federation: FederationThread,
  onSignal: (signal: Signal) => void,
): Promise<RoomPool> {
  const { keyId, seed } = ownKeys.current
  const rooms = new RoomPool({
    workers: roomWorkers,
    shards: await shardCount(database.sql),
    entry: entry('room-worker.ts'),
    start: {
      databaseUrl: database.url,
      connections: config.database.worker_connections,
      waitMs: database.waitMs,
      log: config.log,
      owner: `${process.pid}@${config.server_name}`,
      serverName: config.server_name,
      signingKey: { keyId, seed: encodeBase64(seed) },
      history: config.rooms.msc2716,
      limits: config.rooms.import_gap ? { messageDepth: importGap } : {},
    },
    federation,
    onSignal,
    onFault: (error, where) => log.error({ err: error }, `a fault in ${where}`),
  })
  await rooms.start()
  started.defer(() => rooms.stop())
  return rooms
}

/** The owner of the user shards, on this thread, and what stands on it. */
async function startUsers(
  { config, appservices, log, database: { sql }, started }: Parts,
  rooms: Rooms,
  positions: Positions,
  federation: FederationThread,
) {
  const users = new UserShards(sql, {
    onCommit: (pairs) => positions.advanceUsers(pairs),
    onOutbox: (servers) => federation.signal({ s: 'outbox', servers }),
    deviceNames: config.federation.device_names,
    onFault: (error, method) => log.error({ err: error, method }, 'a change of a user failed'),
  })
  started.defer(() => users.close())
  started.defer(
    startSweeping(sql, clock, (error) => log.warn({ err: error }, 'Could not drop what is old')),
  )

  const tokens = new AccessTokens(sql, {
    users,
    onFault: (error) => log.warn({ err: error }, 'Could not note which devices are in use'),
  })
  started.defer(() => tokens.flush())
  const mail = await makeMail(config, (error) => log.warn({ err: error }, 'an e-mail was not sent'))
  if (mail) started.defer(() => mail.close())
  const made = makeAccounts({ config, sql, users, tokens, appservices, clock, mail })
  const profileNews = new ProfileNews({
    sql,
    rooms,
    onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
    onFault: (error, roomId) =>
      log.warn({ err: error, room: roomId }, 'a room was not told of a new profile'),
  })
  started.defer(() => profileNews.close())
  const departures = new Departures({
    sql,
    rooms,
    onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
    onFault: (error, roomId) =>
      log.warn({ err: error, room: roomId }, 'a room was not left by a deactivated user'),
  })
  started.defer(() => departures.close())
  departures.wake()
  const guestRooms = new GuestRooms({
    sql,
    rooms,
    onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
    onFault: (error, roomId) => log.warn({ err: error, room: roomId }, 'a guest was not taken out'),
  })
  started.defer(() => guestRooms.close())
  const erased = new ErasedUsers(sql)
  await erased.refresh()
  return { users, tokens, ...made, mail, profileNews, departures, erased }
}

/** What is asked about keys; lists of devices that must be fetched, and those that others must be told of. */
function startKeys(
  { config, log, database: { sql }, started }: Parts,
  users: UserShards,
  federation: FederationThread,
  positions: Positions,
) {
  const shared = { sql, serverName: config.server_name, clock, users, federation }
  const keys = new Keys({
    ...shared,
    deviceNames: config.federation.device_names,
    onFault: (error) => log.warn({ err: error }, 'a list of devices was not kept'),
  })
  const resync = new Resync({
    ...shared,
    onFault: (error) => log.warn({ err: error }, 'a list of devices was not fetched'),
  })
  started.defer(() => resync.stop())
  resync.wake()
  const introductions = new Introductions({
    ...shared,
    positions,
    onFault: (error) => log.warn({ err: error }, 'servers were not told of devices'),
  })
  started.defer(() => introductions.close())
  introductions.start()
  return { keys, resync }
}
