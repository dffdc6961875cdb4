import { SHARDS } from '#core/shard.ts'
import type { Follows } from '#engine/appservice/follows.ts'
import { Judge, type UserNews } from '#engine/appservice/judge.ts'
import { RoomGuests } from '#engine/appservice/room-guests.ts'
import type { Log } from '#src/log.ts'
import * as follow from '#store/appservice/follow.ts'
import type { Pool } from '#store/db.ts'

export type AppserviceFollowerOptions = {
  sql: Pool
  log: Pick<Log, 'warn'>
  clock: () => number
  serverName: string
  /** How far shards are committed, as far as this process was told. */
  roomsAt: (shard: number) => number
  usersAt: (shard: number) => number
  /** Told after the commit what is new for whom: how many events, by place; there may be more than events. */
  onQueued: (events: ReadonlyMap<number, number>) => void
  /** Told what else is new of users, and in which of their shards something is. */
  onUsers: (news: UserNews, shards: readonly number[]) => void
  /** What comes within this time after news is followed with it. */
  collectMs?: number
  /** How often it is looked by itself, in case nothing tells. */
  lookEveryMs?: number
}

/** Positions that are followed in one transaction. */
const maxRound = 1_000
/** Unless told: so much later than everybody else does an application service hear of an event. */
const collectMs = 20

/**
 * Follows the shards of rooms and users, and queues for each application service what interests it. Nobody's
 * commit waits for it.
 */
export class AppserviceFollower {
  readonly judge: Judge
  readonly #options: AppserviceFollowerOptions
  readonly #follows: Follows
  readonly #guests: RoomGuests
  readonly #cursors = new Map<number, follow.Cursor>()
  #following: Promise<void> | undefined
  #soon: ReturnType<typeof setTimeout> | undefined
  #timer: ReturnType<typeof setInterval> | undefined
  #again = false
  #stopped = false

  constructor(follows: Follows, options: AppserviceFollowerOptions) {
    const { sql, serverName } = options
    this.#options = options
    this.#follows = follows
    this.#guests = new RoomGuests(
      sql,
      serverName,
      follows,
      (shard) => this.#cursors.get(shard)?.rooms,
    )
    this.judge = new Judge(sql, serverName, follows, this.#guests)
  }

  /** Begins where it ended; where nobody followed, with what comes from now on. */
  async start(): Promise<void> {
    const { sql } = this.#options
    await follow.begin(sql)
    await this.#readCursors()
    this.#timer = setInterval(() => this.tell(), this.#options.lookEveryMs ?? 10_000)
    this.#timer.unref()
    this.tell()
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    clearTimeout(this.#soon)
    await this.#following
  }

  /** Somebody else is sent something, too. */
  changed(): void {
    this.#guests.forget()
  }

  /** Something was committed somewhere. */
  tell(): void {
    if (this.#stopped || this.#soon) return
    this.#soon = setTimeout(() => {
      this.#soon = undefined
      this.#followSoon()
    }, this.#options.collectMs ?? collectMs)
    this.#soon.unref()
  }

  #followSoon(): void {
    if (this.#stopped) return
    if (this.#following) {
      this.#again = true
      return
    }
    this.#following = this.#follow()
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#following = undefined
        if (!this.#again) return
        this.#again = false
        this.tell()
      })
  }

  async #failed(error: unknown): Promise<void> {
    const { log } = this.#options
    this.#guests.forget()
    this.#again = true
    if (!(error instanceof follow.CursorMoved) && !this.#stopped) {
      log.warn({ err: error }, 'it was not found out what interests application services')
      await Bun.sleep(500)
    }
    // What was committed of it, the cursors know.
    await this.#readCursors().catch((again: unknown) => {
      if (!this.#stopped)
        log.warn({ err: again }, 'how far application services are followed is not known')
    })
  }

  async #follow(): Promise<void> {
    while (!this.#stopped) {
      const users = this.#stretches('users')
      const rooms = this.#stretches('rooms')
      if (rooms.length + users.length === 0) return
      if (users.length > 0) await this.#followUsers(users)
      if (rooms.length > 0) await this.#followRooms(rooms)
    }
  }

  async #followUsers(stretches: readonly follow.Stretch[]): Promise<void> {
    const { sql, clock, onQueued, onUsers } = this.#options
    const news = await this.judge.users(stretches)
    await follow.write(sql, 'users', stretches, news, clock())
    this.#moved('users', stretches)
    this.#told(onQueued, [], [...news.receipts, ...news.lists])
    onUsers(
      news,
      stretches.map(({ shard }) => shard),
    )
  }

  async #followRooms(stretches: readonly follow.Stretch[]): Promise<void> {
    const { sql, clock, onQueued } = this.#options
    const news = await this.judge.rooms(stretches)
    await follow.write(sql, 'rooms', stretches, news, clock())
    news.end()
    this.#moved('rooms', stretches)
    this.#told(onQueued, news.events, news.lists)
  }

  #told(
    tell: AppserviceFollowerOptions['onQueued'],
    events: readonly { appserviceNid: number }[],
    others: readonly { appserviceNid: number }[],
  ): void {
    const counts = new Map<number, number>()
    for (const { appserviceNid: nid } of others) counts.set(nid, 0)
    for (const { appserviceNid: nid } of events) counts.set(nid, (counts.get(nid) ?? 0) + 1)
    if (counts.size === 0) return
    const byPlace = new Map<number, number>()
    for (const [place, { nid }] of this.#follows.all.entries()) {
      const count = counts.get(nid)
      if (count !== undefined) byPlace.set(place, count)
    }
    tell(byPlace)
  }

  #moved(of: 'rooms' | 'users', stretches: readonly follow.Stretch[]): void {
    for (const { shard, to } of stretches)
      this.#cursors.set(shard, { ...this.#cursors.get(shard)!, [of]: to })
  }

  /** What is next, of few positions at a time. */
  #stretches(of: 'rooms' | 'users'): follow.Stretch[] {
    const at = of === 'rooms' ? this.#options.roomsAt : this.#options.usersAt
    const stretches: follow.Stretch[] = []
    let room = maxRound
    for (let shard = 0; shard < SHARDS && room > 0; shard++) {
      const from = this.#cursors.get(shard)?.[of]
      const told = at(shard)
      if (from === undefined || told <= from) continue
      const to = Math.min(told, from + room)
      stretches.push({ shard, from, to })
      room -= to - from
    }
    return stretches
  }

  async #readCursors(): Promise<void> {
    for (const cursor of await follow.cursors(this.#options.sql))
      this.#cursors.set(cursor.shard, cursor)
  }
}
