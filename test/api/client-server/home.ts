import { afterAll } from 'bun:test'
import { Value } from '@sinclair/typebox/value'
import { type Appservices, noAppservices } from '#core/appservice.ts'
import { RateLimits } from '#api/http/rate-limit.ts'
import { loadOwnKeys } from '#engine/federation/own-keys.ts'
import { InboundRooms } from '#engine/federation/inbound-rooms.ts'
import { Presence } from '#engine/live/presence.ts'
import { Receipts } from '#engine/live/receipts.ts'
import { tellPresence } from '#engine/live/tell-presence.ts'
import { ErasedUsers } from '#engine/read/erased.ts'
import { queryHierarchy } from '#engine/federation/remote-queries.ts'
import { RemoteSpaces } from '#engine/read/remote-spaces.ts'
import { AccessTokens } from '#engine/user/access-tokens.ts'
import { RoomDeletions } from '#engine/user/room-deletions.ts'
import { Departures } from '#engine/user/departures.ts'
import { Keys } from '#engine/user/keys/keys.ts'
import type { Mail } from '#engine/user/mail.ts'
import { Sliding } from '#engine/sync/sliding/sliding.ts'
import { SyncFilters } from '#engine/user/sync-filters.ts'
import { UserShards } from '#engine/user/owner.ts'
import { ProfileNews } from '#engine/user/profile-news.ts'
import type { RoomCalls, Rooms, Signal } from '#engine/worker/protocol.ts'
import { makeAccounts } from '#src/accounts.ts'
import { Config } from '#src/config.ts'
import type { Context } from '#src/context.ts'
import { silentLog } from '#src/log.ts'
import { Client } from '#test/client.ts'
import { MadeUpFederation, type MadeUpServer } from '#test/builders.ts'
import type { TestDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { noBridges } from '#test/api/no-bridges.ts'

type RoomAnswers = { [M in keyof RoomCalls]?: (...args: Parameters<RoomCalls[M]>) => unknown }

/** A user who is logged in. */
export type Person = { userId: string; deviceId: string; token: string; client: Client }

export type HomeOptions = {
  config?: object
  appservices?: Appservices
  servers?: readonly MadeUpServer[]
  mail?: Mail
  bridges?: Context['bridges']
}

/**
 * A server for clients: real users in a real database. Its rooms are those of a story; what changes
 * a room is answered by the test.
 */
export class Home {
  readonly story: Story
  readonly ctx: Context
  readonly federation: MadeUpFederation
  /** Asks as nobody. */
  readonly client: Client
  readonly roomCalls: { method: string; args: unknown[] }[] = []
  /** EDUs that may be lost, as they were sent. */
  readonly edus: { servers: string[]; key: string; edu: string }[] = []
  /** What else the federation worker was told. */
  readonly signals: Signal[] = []
  /** Told whenever somebody is there, or has gone. */
  onPresence: () => void = () => {}
  roomAnswers: RoomAnswers = {}
  now = 1_700_000_200_000
  #people = 0
  readonly mail: Mail | undefined

  private constructor(story: Story, options: HomeOptions, ownKeys: Context['ownKeys']) {
    this.story = story
    const { sql, serverName, positions, snapshots, sentMembers, typing } = story
    const clock = () => this.now
    const { appservices = noAppservices } = options
    const config = configOf(serverName, options.config)
    const users = new UserShards(sql, { onCommit: (pairs) => positions.advanceUsers(pairs) })
    const tokens = new AccessTokens(sql, { users })
    const rooms = this.#rooms()
    const { mail } = options
    this.mail = mail
    this.federation = new MadeUpFederation(...(options.servers ?? []))
    this.ctx = {
      config,
      serverName,
      log: silentLog,
      appservices,
      bridges: options.bridges ?? noBridges(),
      clock,
      sql,
      signingKey: ownKeys.current,
      ownKeys,
      rooms,
      users,
      federation: this.federation,
      signal: (signal) => this.signals.push(signal),
      keys: new Keys({
        sql,
        serverName,
        clock,
        users,
        federation: this.federation,
        deviceNames: true,
        onFault: (error) => {
          throw error
        },
      }),
      ...makeAccounts({ config, sql, users, tokens, appservices, clock, mail }),
      departures: new Departures({
        sql,
        rooms,
        retryMs: 50,
        onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
        onFault: () => {},
      }),
      roomDeletions: new RoomDeletions({
        sql,
        rooms,
        serverName,
        clock,
        sendMs: 50,
        pauseMs: 50,
        onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
        indexed: (shard) => story.eventIndex.reach([shard]),
        onFault: () => {},
      }),
      profileNews: new ProfileNews({
        sql,
        rooms,
        onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
        onFault: () => {},
      }),
      tokens,
      receipts: this.#receipts(users),
      presence: this.#presence(),
      erased: new ErasedUsers(sql),
      limits: new RateLimits(undefined, clock),
      eventIndex: story.eventIndex,
      positions,
      snapshots,
      syncFilters: new SyncFilters(sql),
      sentMembers,
      sliding: new Sliding(),
      unread: story.unread,
      facts: story.facts,
      remoteSpaces: new RemoteSpaces(
        (destination, roomId, deadlineMs) =>
          queryHierarchy(this.federation, destination, roomId, { deadlineMs }),
        clock,
      ),
      typing,
      // Nothing that a client asks for takes in what servers send.
      intake: undefined as unknown as Context['intake'],
      seeing: undefined as unknown as Context['seeing'],
      ...withoutMedia,
    }
    this.client = Client.of(this.ctx)
    afterAll(async () => {
      await this.ctx.profileNews.close()
      await this.ctx.departures.close()
      await this.ctx.roomDeletions.close()
      await this.ctx.presence?.close()
      await mail?.close()
      await users.close()
      positions.close()
    })
  }

  /** Call it at the top of a test file: it is closed after the file's last test. */
  static async open(db: TestDatabase, options: HomeOptions = {}): Promise<Home> {
    const story = await Story.begin(db.pool)
    return new Home(story, options, await loadOwnKeys(db.pool, () => 1_700_000_000_000))
  }

  /** Makes an account and logs in; the name may stand for several people. */
  async person(name: string, { admin = false } = {}): Promise<Person> {
    const { accounts } = this.ctx
    const userId = await accounts.register({
      name: `${name}${++this.#people}`,
      password: 'secret',
      admin,
    })
    return this.logIn(userId)
  }

  /** The same server under another configuration, asked as nobody. */
  under(config: object): Client {
    const other = configOf(this.ctx.serverName, config)
    const { sql, users, tokens, appservices, clock } = this.ctx
    const made = makeAccounts({
      sql,
      users,
      tokens,
      appservices,
      clock,
      config: other,
      mail: this.mail,
    })
    return Client.of({ ...this.ctx, ...made, config: other })
  }

  async logIn(userId: string, device: { deviceId?: string; displayName?: string } = {}) {
    const { accessToken: token, deviceId } = await this.ctx.accounts.logIn(userId, device)
    return { userId, deviceId, token, client: this.client.as(token) }
  }

  #receipts(users: UserShards): Receipts {
    const { sql, serverName } = this.story
    const inbound = new InboundRooms(serverName)
    return new Receipts({
      sql,
      users,
      serverName,
      clock: () => this.now,
      sendEdu: (servers, key, edu) => this.edus.push({ servers, key, edu }),
      rooms: () => inbound,
      onFault: (error) => {
        throw error
      },
    })
  }

  #presence(): Presence {
    const { sql, serverName, positions } = this.story
    const clock = () => this.now
    const federation = { signal: (signal: Signal) => signal.s === 'edu' && this.edus.push(signal) }
    const presence = new Presence({
      sql,
      serverName,
      clock,
      epoch: this.now,
      onChange: (roomNids) => {
        this.onPresence()
        return positions.nudge(roomNids, 'presence')
      },
      onOwn: (entries) => tellPresence({ sql, serverName, clock, federation }, entries),
      // The database may be gone before the last has been noted.
      onFault: () => {},
    })
    positions.watchMembers((...moved) => presence.moved(...moved))
    return presence
  }

  #rooms(): Rooms {
    const call = async (method: keyof RoomCalls, ...args: unknown[]) => {
      this.roomCalls.push({ method, args })
      const answer = this.roomAnswers[method] as ((...all: unknown[]) => unknown) | undefined
      if (!answer) throw new Error(`nobody expected ${method}`)
      return answer(...args)
    }
    return { call } as unknown as Rooms
  }
}

/** What a test of media starts itself. */
const withoutMedia = {} as Pick<Context, 'media' | 'mediaFiles' | 'thumbnails' | 'previews'>

const configOf = (serverName: string, more: object = {}): Config =>
  Value.Default(Config, {
    server_name: serverName,
    passwords: { memory_kib: 8, iterations: 1 },
    ...more,
  }) as Config
