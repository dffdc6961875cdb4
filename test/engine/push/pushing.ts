import { afterAll } from 'bun:test'
import { PushGateways } from '#engine/federation/push-gateways.ts'
import { PushFollower } from '#engine/push/follower.ts'
import { Letters } from '#engine/push/letters.ts'
import { type AskGateway, PushSender } from '#engine/push/sender.ts'
import { silentLog } from '#src/log.ts'
import { unreadOf } from '#src/push.ts'
import type { Home, Person } from '#test/api/client-server/home.ts'
import { until } from '#test/until.ts'

const gateways = new PushGateways({
  blocked: [],
  allowed: [],
  extraAuthorities: [],
  maxInFlight: 64,
})

/** Asks gateways over real sockets. */
export const ask: AskGateway = (url, body) =>
  gateways.ask({ url, body, deadlineMs: 120_000, maxBytes: 10_000 })

export type PushingOptions = {
  ask?: AskGateway
  delayMs?: number
  perGateway?: number
  stopUrl?: string
}

/** All that pushes for a home, as the server puts it together, but with pauses for which no test waits. */
export class Pushing {
  readonly sender: PushSender
  readonly follower: PushFollower
  readonly letters: Letters | undefined
  readonly #home: Home

  private constructor(home: Home, options: PushingOptions) {
    this.#home = home
    const { sql, positions, unread, users, config } = home.ctx
    const clock = () => home.now
    const shared = { sql, log: silentLog, clock }
    this.sender = new PushSender({
      ...shared,
      ask: options.ask ?? ask,
      unreadOf: (userId) => unreadOf({ sql, positions, unread }, userId),
      remove: (userId, key) => users.call('removePusher', userId, key),
      tickMs: 5,
      ...(options.perGateway !== undefined && { perGateway: options.perGateway }),
    })
    this.follower = new PushFollower({
      ...shared,
      roomsAt: (shard) => positions.roomsAt(shard),
      usersAt: (shard) => positions.usersAt(shard),
      onQueued: (queued) => this.sender.wake(queued),
      collectMs: 1,
    })
    if (home.mail)
      this.letters = new Letters({
        ...shared,
        serverName: config.server_name,
        delayMs: options.delayMs ?? 0,
        send: (letter) => home.mail!.send(letter),
        ...(options.stopUrl !== undefined && { stopUrl: options.stopUrl }),
      })
  }

  static async start(home: Home, options: PushingOptions = {}): Promise<Pushing> {
    const pushing = new Pushing(home, options)
    await pushing.sender.start()
    await pushing.follower.start()
    home.ctx.positions.watchNews(() => pushing.follower.tell())
    afterAll(() => pushing.stop())
    return pushing
  }

  async stop(): Promise<void> {
    await this.follower.stop()
    await this.sender.stop()
  }

  /** Until everything that is committed is queued. */
  async followed(): Promise<void> {
    const { sql, positions } = this.#home.ctx
    await until(async () => {
      this.follower.tell()
      const rows = await sql<{ shard: number; rooms: number; users: number }[]>`
        select shard, rooms, users from push_cursors`
      return rows.every(
        (row) =>
          row.rooms >= positions.roomsAt(row.shard) && row.users >= positions.usersAt(row.shard),
      )
    })
  }

  /** How much one user's pushers have left to tell. */
  async queued({ userId }: Pick<Person, 'userId'>): Promise<number> {
    const [row] = await this.#home.ctx.sql<{ count: number }[]>`
      select count(*)::integer as count from push_queue q join pushers p using (shard, pusher_id)
      where p.user_id = ${userId}`
    return row!.count
  }
}
