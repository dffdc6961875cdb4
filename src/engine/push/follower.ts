import { SHARDS } from '#core/shard.ts'
import { RoomMembers } from '#engine/push/room-members.ts'
import { type Found, Judge } from '#engine/push/judge.ts'
import { UserWishes } from '#engine/push/wishes.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as follow from '#store/push/follow.ts'
import type { Queued, Stretch } from '#store/push/queue.ts'

export type PushFollowerOptions = {
  sql: Pool
  log: Pick<Log, 'warn'>
  clock: () => number
  /** How far shards are committed, as far as this process was told. */
  roomsAt: (shard: number) => number
  usersAt: (shard: number) => number
  /** Told of pushers that have something to tell, after the commit. */
  onQueued: (queued: readonly Queued[]) => void
  /** What comes within this time after news is followed with it. */
  collectMs?: number
  /** How often it is looked by itself, in case nothing tells. */
  lookEveryMs?: number
}

/** Positions that are followed in one transaction. */
const maxRound = 1_000
/** Unless told: a round costs as much for one message as for a hundred. */
const collectMs = 200
const idleMs = 1_000

/**
 * Follows the shards of rooms and users, and queues for each pusher what it is to tell: events that the
 * rules of its user notify of, and new counts where something was read. Nobody's commit waits for it.
 */
export class PushFollower {
  readonly #options: PushFollowerOptions
  readonly #cursors = new Map<number, follow.Cursor>()
  readonly #members = new RoomMembers()
  readonly #judge: Judge
  #following: Promise<void> | undefined
  #soon: ReturnType<typeof setTimeout> | undefined
  #timer: ReturnType<typeof setInterval> | undefined
  #again = false
  /** Nobody had a pusher when it was looked last: nothing has to be read. */
  #idle = false
  #stopped = false

  constructor(options: PushFollowerOptions) {
    this.#options = options
    const { sql, usersAt } = options
    this.#judge = new Judge(sql, this.#members, new UserWishes(usersAt))
  }

  /** Begins where it ended. */
  async start(): Promise<void> {
    await this.#readCursors()
    this.#idle = !(await follow.anyPusher(this.#options.sql))
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

  /** Something was committed somewhere. */
  tell(): void {
    if (this.#stopped || this.#soon) return
    this.#soon = setTimeout(
      () => {
        this.#soon = undefined
        this.#followSoon()
      },
      this.#options.collectMs ?? (this.#idle ? idleMs : collectMs),
    )
    this.#soon.unref()
  }

  #followSoon(): void {
    if (this.#stopped) return
    if (this.#following) {
      this.#again = true
      return
    }
    this.#following = this.#follow()
      .catch(async (error: unknown) => {
        if (!(error instanceof follow.CursorMoved) && !this.#stopped) {
          this.#options.log.warn({ err: error }, 'it was not found out what is to be pushed')
          await Bun.sleep(500)
        }
        // What was committed of it, the cursors know.
        await this.#readCursors().catch((again: unknown) => {
          if (!this.#stopped)
            this.#options.log.warn({ err: again }, 'how far pushes are is not known')
        })
        this.#again = true
      })
      .finally(() => {
        this.#following = undefined
        if (!this.#again) return
        this.#again = false
        this.tell()
      })
  }

  async #follow(): Promise<void> {
    while (!this.#stopped) {
      // In this order: whoever set up a pusher before an event is known before the event is looked at.
      const rooms = this.#stretches('rooms')
      const users = this.#stretches('users')
      if (rooms.length + users.length === 0) return
      if (this.#idle && !(await this.#begins(users))) {
        await follow.skip(this.#options.sql, rooms, users)
        this.#moved('rooms', rooms)
        this.#moved('users', users)
        continue
      }
      if (users.length > 0) await this.#followUsers(users)
      if (rooms.length > 0) await this.#followRooms(rooms)
    }
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
    this.#moved('users', stretches)
    if (queued.length > 0) this.#options.onQueued(queued)
  }

  async #followRooms(stretches: readonly Stretch[]): Promise<void> {
    const { sql, clock } = this.#options
    const found: Found = await this.#judge.look(stretches)
    const queued = await follow.writeRooms(sql, found.stretches, found, clock())
    this.#moved('rooms', found.stretches)
    if (queued.length > 0) this.#options.onQueued(queued)
  }

  #moved(of: 'rooms' | 'users', stretches: readonly Stretch[]): void {
    for (const { shard, to } of stretches)
      this.#cursors.set(shard, { ...this.#cursors.get(shard)!, [of]: to })
  }

  /** What is next, of few positions at a time. */
  #stretches(of: 'rooms' | 'users'): Stretch[] {
    const at = of === 'rooms' ? this.#options.roomsAt : this.#options.usersAt
    const stretches: Stretch[] = []
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
