import { afterAll } from 'bun:test'
import { Value } from '@sinclair/typebox/value'
import { type Appservices, noAppservices } from '#core/appservice.ts'
import { RateLimits } from '#api/http/rate-limit.ts'
import { loadOwnKeys } from '#engine/federation/own-keys.ts'
import { AccessTokens } from '#engine/user/access-tokens.ts'
import { Accounts } from '#engine/user/accounts.ts'
import { Keys } from '#engine/user/keys/keys.ts'
import { UserShards } from '#engine/user/owner.ts'
import { ProfileNews } from '#engine/user/profile-news.ts'
import type { RoomCalls, Rooms } from '#engine/worker/protocol.ts'
import { Config } from '#src/config.ts'
import type { Context } from '#src/context.ts'
import { silentLog } from '#src/log.ts'
import { Client } from '#test/client.ts'
import { MadeUpFederation, type MadeUpServer } from '#test/builders.ts'
import type { TestDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'

type RoomAnswers = { [M in keyof RoomCalls]?: (...args: Parameters<RoomCalls[M]>) => unknown }

/** A user who is logged in. */
export type Person = { userId: string; deviceId: string; token: string; client: Client }

export type HomeOptions = {
  config?: object
  appservices?: Appservices
  servers?: readonly MadeUpServer[]
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
  roomAnswers: RoomAnswers = {}
  now = 1_700_000_200_000
  #people = 0

  private constructor(story: Story, options: HomeOptions, ownKeys: Context['ownKeys']) {
    this.story = story
    const { sql, serverName, positions, snapshots, sentMembers } = story
    const clock = () => this.now
    const { appservices = noAppservices } = options
    const config = configOf(serverName, options.config)
    const users = new UserShards(sql, { onCommit: (pairs) => positions.advanceUsers(pairs) })
    const tokens = new AccessTokens(sql)
    const rooms = this.#rooms()
    const cost = { memoryKib: config.passwords.memory_kib, iterations: config.passwords.iterations }
    this.federation = new MadeUpFederation(...(options.servers ?? []))
    this.ctx = {
      config,
      serverName,
      log: silentLog,
      appservices,
      clock,
      sql,
      signingKey: ownKeys.current,
      ownKeys,
      rooms,
      users,
      federation: this.federation,
      keys: new Keys({
        ...{ sql, serverName, clock, users, federation: this.federation, deviceNames: true },
        onFault: (error) => {
          throw error
        },
      }),
      accounts: new Accounts({ sql, users, tokens, appservices, serverName, clock, cost }),
      profileNews: new ProfileNews({
        sql,
        rooms,
        onLanded: ({ shard, position }) => positions.advanceRooms([[shard, position]]),
        onFault: () => {},
      }),
      tokens,
      limits: new RateLimits(undefined, clock),
      positions,
      snapshots,
      sentMembers,
      // Nothing that a client asks for takes in what servers send.
      intake: undefined as unknown as Context['intake'],
    }
    this.client = Client.of(this.ctx)
    afterAll(async () => {
      await this.ctx.profileNews.close()
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
    return Client.of({ ...this.ctx, config: configOf(this.ctx.serverName, config) })
  }

  async logIn(userId: string, device: { deviceId?: string; displayName?: string } = {}) {
    const { accessToken: token, deviceId } = await this.ctx.accounts.logIn(userId, device)
    return { userId, deviceId, token, client: this.client.as(token) }
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

const configOf = (serverName: string, more: object = {}): Config =>
  Value.Default(Config, {
    server_name: serverName,
    passwords: { memory_kib: 8, iterations: 1 },
    ...more,
  }) as Config
