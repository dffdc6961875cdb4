import { SHARDS } from '#core/shard.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as cursors from '#store/two-cursors.ts'

export type ShardFollowerOptions = {
  sql: Pool
  log: Pick<Log, 'warn'>
  /** How far shards are committed, as far as this process was told. */
  roomsAt: (shard: number) => number
  usersAt: (shard: number) => number
  /** How often it is looked by itself, in case nothing tells. */
  lookEveryMs?: number
}

/** What follows, and what it makes of what it finds. */
export type ShardWork = {
  table: cursors.CursorTable
  /** What comes within this time after news is followed with it. */
  collectMs: () => number
  /** Takes in what is new and says with `moved` what was committed of it. */
  follow: (news: { rooms: cursors.Stretch[]; users: cursors.Stretch[] }) => Promise<void>
  /** A round failed, and begins again where the database says. */
  failed?: () => void
  /** What the log says then. */
  fault: string
}

/** Positions that are followed in one transaction. */
const maxRound = 1_000
/** After trouble with the database. */
const troubleMs = 500

/**
 * Follows the shards of rooms and users behind their commits, one round at a time, from where its durable
 * cursors are. Nobody's commit waits for it. What it does with a round is somebody else's.
 */
export class ShardFollower {
  readonly #options: ShardFollowerOptions
  readonly #work: ShardWork
  readonly #cursors = new Map<number, cursors.Cursor>()
  #following: Promise<void> | undefined
  #soon: ReturnType<typeof setTimeout> | undefined
  #timer: ReturnType<typeof setInterval> | undefined
  #again = false
  #stopped = false

  constructor(options: ShardFollowerOptions, work: ShardWork) {
    this.#options = options
    this.#work = work
  }

  /** Begins where it ended. */
  async start(): Promise<void> {
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

  /** Something was committed somewhere. */
  tell(): void {
    if (this.#stopped || this.#soon) return
    this.#soon = setTimeout(() => {
      this.#soon = undefined
      this.#followSoon()
    }, this.#work.collectMs())
    this.#soon.unref()
  }

  /** How far a shard of rooms is followed; undefined: not at all yet. */
  roomsAt(shard: number): number | undefined {
    return this.#cursors.get(shard)?.rooms
  }

  /** So far it was followed, by what is committed. */
  moved(of: 'rooms' | 'users', stretches: readonly cursors.Stretch[]): void {
    for (const { shard, to } of stretches)
      this.#cursors.set(shard, { ...this.#cursors.get(shard)!, [of]: to })
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

  async #follow(): Promise<void> {
    while (!this.#stopped) {
      // In this order: what a user did before an event is known before the event is looked at.
      const rooms = this.#stretches('rooms')
      const users = this.#stretches('users')
      if (rooms.length + users.length === 0) return
      await this.#work.follow({ rooms, users })
    }
  }

  async #failed(error: unknown): Promise<void> {
    const { log } = this.#options
    this.#work.failed?.()
    this.#again = true
    if (!(error instanceof cursors.CursorMoved) && !this.#stopped) {
      log.warn({ err: error }, this.#work.fault)
      await Bun.sleep(troubleMs)
    }
    // What was committed of it, the cursors know.
    await this.#readCursors().catch((again: unknown) => {
      if (!this.#stopped)
        log.warn(
          { err: again, table: this.#work.table },
          'how far shards are followed is not known',
        )
    })
  }

  /** What is next, of few positions at a time. */
  #stretches(of: 'rooms' | 'users'): cursors.Stretch[] {
    const at = of === 'rooms' ? this.#options.roomsAt : this.#options.usersAt
    const stretches: cursors.Stretch[] = []
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
    for (const cursor of await cursors.read(this.#options.sql, this.#work.table))
      this.#cursors.set(cursor.shard, cursor)
  }
}
