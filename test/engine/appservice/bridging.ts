import { afterAll, expect } from 'bun:test'
import { readRegistration } from '#core/appservice-registration.ts'
import { type Appservice, appservicesOf } from '#core/appservice.ts'
import { Bridges, type BridgesOptions } from '#engine/appservice/bridges.ts'
import { AppserviceRequests } from '#engine/federation/appservice-requests.ts'
import { makeSenders } from '#engine/user/appservice-senders.ts'
import type { Log } from '#src/log.ts'
import { isConnectionLost } from '#store/db.ts'
import { Home } from '#test/api/client-server/home.ts'
import { BridgeListener } from '#test/bridge-listener.ts'
import type { TestDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'

const requests = new AppserviceRequests({ extraAuthorities: [], maxInFlight: 64 })

/** Has the users `@_ID_…`, unless told otherwise. */
export function registered(id: string, url: string | null, more: object = {}): Appservice {
  const registration = readRegistration(
    {
      id,
      url,
      as_token: `as-${id}`,
      hs_token: 'hs-secret',
      sender_localpart: `${id}bot`,
      namespaces: { users: [{ regex: `@_${id}_.*`, exclusive: true }] },
      ...more,
    },
    'here.example',
  )
  if ('faults' in registration) throw new Error(registration.faults.join())
  return registration.appservice
}

/** A home with application services, and what is sent to them, with pauses for which no test waits. */
export class Bridging {
  readonly home: Home
  readonly appservices: readonly Appservice[]
  bridges!: Bridges
  readonly #options: Partial<BridgesOptions>
  readonly warnings: Record<string, unknown>[] = []
  /** What went wrong in the server itself. */
  readonly #faults: unknown[] = []

  private constructor(
    home: Home,
    appservices: readonly Appservice[],
    options: Partial<BridgesOptions>,
  ) {
    this.home = home
    this.appservices = appservices
    this.#options = options
  }

  /** Call it at the top of a test file. */
  static async open(
    database: TestDatabase,
    appservices: readonly Appservice[],
    options: Partial<BridgesOptions> = {},
  ): Promise<Bridging> {
    let bridging: Bridging | undefined = undefined
    const now = () => bridging!.bridges
    const home: Home = await Home.open(database, {
      appservices: appservicesOf(appservices),
      config: { registration: { enabled: true, dummy: true } },
      bridges: {
        get questions() {
          return now().questions
        },
        heardFrom: (appservice) => now().heardFrom(appservice),
        socketOf: (appservice) => now().socketOf(appservice),
        hangUp: () => now().hangUp(),
        standings: () => now().standings(),
        retry: (id) => now().retry(id),
        skip: (...asked) => now().skip(...asked),
      },
    })
    bridging = new Bridging(home, appservices, options)
    await makeSenders(home.ctx, home.ctx.appservices)
    await bridging.start()
    home.story.onTyping = (room) => now().typed(room)
    home.onPresence = () => now().presenceMoved()
    home.ctx.positions.watchNews(() => now().tell())
    const faults = bridging.#faults
    afterAll(async () => {
      await now().stop()
      expect(faults).toEqual([])
    })
    return bridging
  }

  async start(appservices = this.appservices): Promise<void> {
    const { sql, positions, typing, presence } = this.home.ctx
    this.bridges = await Bridges.start(appservicesOf(appservices), {
      sql,
      log: {
        warn: (what: object, why: string) => this.#noteFault(what, why),
        info: () => {},
        debug: () => {},
      } as unknown as Log,
      clock: () => this.home.now,
      serverName: 'here.example',
      positions,
      ask: (request) => requests.ask(request),
      deadlineMs: 120_000,
      firstMs: 1_000,
      longestMs: 64_000,
      maxQueued: 100_000,
      keepMs: 30 * 86_400_000,
      collectMs: 1,
      ...this.#options,
    })
    this.bridges.watch({ typing, presence })
  }

  #noteFault(what: object, why: string): void {
    this.warnings.push({ ...what, why })
    // The database is closed before what stands on it.
    if ('err' in what && !isConnectionLost(what.err)) this.#faults.push(what.err)
  }

  /** As a new run of the server would. */
  async restart(appservices = this.appservices): Promise<void> {
    await this.bridges.stop()
    await this.start(appservices)
  }

  /** A user of an application service, whom it has made. */
  async ghost({ asToken, sender }: Appservice, name: string): Promise<string> {
    const space = sender.slice(1, sender.indexOf('bot:'))
    const { body } = await this.home.client.as(asToken).post('/register', {
      type: 'm.login.application_service',
      username: `_${space}_${name}`,
      inhibit_login: true,
    })
    return body.user_id as string
  }

  /** Until everything that is committed is queued. */
  async followed(): Promise<void> {
    const { sql, positions } = this.home.ctx
    await until(async () => {
      this.bridges.tell()
      const rows = await sql<{ shard: number; rooms: number; users: number }[]>`
        select shard, rooms, users from appservice_cursors`
      return (
        rows.length > 0 &&
        rows.every(
          (row) =>
            row.rooms >= positions.roomsAt(row.shard) && row.users >= positions.usersAt(row.shard),
        )
      )
    })
  }

  /** Lets time pass, which those who failed are waiting for, until something is so. */
  async later(isSo: () => boolean | Promise<boolean>): Promise<void> {
    await until(async () => {
      if (await isSo()) return true
      this.home.now += 2_000
      for (const appservice of this.appservices) this.bridges.heardFrom(appservice)
      return false
    })
  }
}

/** One that listens, and is gone after the file's last test. */
export function openListener(): BridgeListener {
  const listener = new BridgeListener()
  afterAll(() => listener.stop())
  return listener
}
