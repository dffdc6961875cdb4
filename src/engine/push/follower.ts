import { RoomMembers } from '#engine/push/room-members.ts'
import { type Found, Judge } from '#engine/push/judge.ts'
import { UserWishes } from '#engine/push/wishes.ts'
import { ShardFollower, type ShardFollowerOptions } from '#engine/read/shard-follower.ts'
import * as follow from '#store/push/follow.ts'
import type { Queued } from '#store/push/queue.ts'
import type { Stretch } from '#store/two-cursors.ts'

export type PushFollowerOptions = ShardFollowerOptions & {
  clock: () => number
  /** Told of pushers that have something to tell, after the commit. */
  onQueued: (queued: readonly Queued[]) => void
  /** What comes within this time after news is followed with it. */
  collectMs?: number
}

/** Unless told: a round costs as much for one message as for a hundred. */
const collectMs = 200
const idleMs = 1_000

/**
 * Queues for each pusher what it is to tell: events that the rules of its user notify of, and new counts where
 * something was read.
 */
export class PushFollower {
  readonly #options: PushFollowerOptions
  readonly #shards: ShardFollower
  readonly #members = new RoomMembers()
  readonly #judge: Judge
  /** Nobody had a pusher when it was looked last: nothing has to be read. */
  #idle = false

  constructor(options: PushFollowerOptions) {
    this.#options = options
    const { sql, usersAt } = options
    this.#judge = new Judge(sql, this.#members, new UserWishes(usersAt))
    this.#shards = new ShardFollower(options, {
      table: 'push_cursors',
      collectMs: () => options.collectMs ?? (this.#idle ? idleMs : collectMs),
      follow: ({ rooms, users }) => this.#follow(rooms, users),
      fault: 'it was not found out what is to be pushed',
    })
  }

  /** Begins where it ended. */
  async start(): Promise<void> {
    this.#idle = !(await follow.anyPusher(this.#options.sql))
    await this.#shards.start()
  }

  stop(): Promise<void> {
    return this.#shards.stop()
  }

  /** Something was committed somewhere. */
  tell(): void {
    this.#shards.tell()
  }

  async #follow(rooms: readonly Stretch[], users: readonly Stretch[]): Promise<void> {
    if (this.#idle && !(await this.#begins(users))) {
      await follow.skip(this.#options.sql, rooms, users)
      this.#shards.moved('rooms', rooms)
      this.#shards.moved('users', users)
      return
    }
    if (users.length > 0) await this.#followUsers(users)
    if (rooms.length > 0) await this.#followRooms(rooms)
  }

  /** Whether somebody has set up the first pusher. */
  async #begins(users: readonly Stretch[]): Promise<boolean> {
    if (users.length > 0)
      this.#idle = (await follow.roomsOfNew(this.#options.sql, users)).length === 0
    return !this.#idle
  }

  async #followUsers(stretches: readonly Stretch[]): Promise<void> {
    const { sql, clock } = this.#options
    for (const { room_nid: roomNid } of await follow.roomsOfNew(sql, stretches))
      if (roomNid !== null) this.#members.forget(roomNid)
    const queued = await follow.writeReads(sql, stretches, clock())
    this.#shards.moved('users', stretches)
    if (queued.length > 0) this.#options.onQueued(queued)
  }

  async #followRooms(stretches: readonly Stretch[]): Promise<void> {
    const { sql, clock } = this.#options
    const found: Found = await this.#judge.look(stretches)
    const queued = await follow.writeRooms(sql, found.stretches, found, clock())
    this.#shards.moved('rooms', found.stretches)
    if (queued.length > 0) this.#options.onQueued(queued)
  }
}
