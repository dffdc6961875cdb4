import type { Follows } from '#engine/appservice/follows.ts'
import { Judge, type UserNews } from '#engine/appservice/judge.ts'
import { RoomGuests } from '#engine/appservice/room-guests.ts'
import { ShardFollower, type ShardFollowerOptions } from '#engine/read/shard-follower.ts'
import * as follow from '#store/appservice/follow.ts'
import type { Stretch } from '#store/two-cursors.ts'

export type AppserviceFollowerOptions = ShardFollowerOptions & {
  clock: () => number
  serverName: string
  /** Told after the commit what is new for whom: how many events, by place; there may be more than events. */
  onQueued: (events: ReadonlyMap<number, number>) => void
  /** Told what else is new of users, and in which of their shards something is. */
  onUsers: (news: UserNews, shards: readonly number[]) => void
  /** What comes within this time after news is followed with it. */
  collectMs?: number
}

/** Unless told: so much later than everybody else does an application service hear of an event. */
const collectMs = 20

/** Queues for each application service what interests it. */
export class AppserviceFollower {
  readonly judge: Judge
  readonly #options: AppserviceFollowerOptions
  readonly #shards: ShardFollower
  readonly #follows: Follows
  readonly #guests: RoomGuests

  constructor(follows: Follows, options: AppserviceFollowerOptions) {
    const { sql, serverName } = options
    this.#options = options
    this.#follows = follows
    this.#shards = new ShardFollower(options, {
      table: 'appservice_cursors',
      collectMs: () => options.collectMs ?? collectMs,
      follow: ({ rooms, users }) => this.#follow(rooms, users),
      failed: () => this.#guests.forget(),
      fault: 'it was not found out what interests application services',
    })
    this.#guests = new RoomGuests(sql, serverName, follows, (shard) => this.#shards.roomsAt(shard))
    this.judge = new Judge(sql, serverName, follows, this.#guests)
  }

  /** Begins where it ended; where nobody followed, with what comes from now on. */
  async start(): Promise<void> {
    await follow.begin(this.#options.sql)
    await this.#shards.start()
  }

  stop(): Promise<void> {
    return this.#shards.stop()
  }

  /** Somebody else is sent something, too. */
  changed(): void {
    this.#guests.forget()
  }

  /** Something was committed somewhere. */
  tell(): void {
    this.#shards.tell()
  }

  async #follow(rooms: readonly Stretch[], users: readonly Stretch[]): Promise<void> {
    if (users.length > 0) await this.#followUsers(users)
    if (rooms.length > 0) await this.#followRooms(rooms)
  }

  async #followUsers(stretches: readonly Stretch[]): Promise<void> {
    const { sql, clock, onQueued, onUsers } = this.#options
    const news = await this.judge.users(stretches)
    await follow.write(sql, 'users', stretches, news, clock())
    this.#shards.moved('users', stretches)
    this.#told(onQueued, [], [...news.receipts, ...news.lists])
    onUsers(
      news,
      stretches.map(({ shard }) => shard),
    )
  }

  async #followRooms(stretches: readonly Stretch[]): Promise<void> {
    const { sql, clock, onQueued } = this.#options
    const news = await this.judge.rooms(stretches)
    await follow.write(sql, 'rooms', stretches, news, clock())
    news.end()
    this.#shards.moved('rooms', stretches)
    this.#told(onQueued, news.events, [...news.lists, ...news.listsOf])
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
}
