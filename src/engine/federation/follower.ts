import type { Log } from '#src/log.ts'
import { isConflict, type Pool } from '#store/db.ts'
import * as outbox from '#store/federation/outbox.ts'

export type FollowerOptions = {
  serverName: string
  sql: Pool
  log: Log
  /** Told which servers have something new waiting. */
  onNew: (servers: string[]) => void
  /** How often positions are looked up, in case a signal was lost. */
  lookEveryMs?: number
}

/** Positions of one shard that are taken in with one statement. */
const maxStretch = 5_000
/** For so long what is not for us to send is collected: only the cursors move over it. */
const idleMs = 1_000

/** Follows the room shards and queues their events for other servers; its cursors are durable. */
export class Follower {
  readonly #options: FollowerOptions
  readonly #cursors = new Map<number, number>()
  readonly #told = new Map<number, number>()
  #following: Promise<void> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #retry: ReturnType<typeof setTimeout> | undefined
  #idle: ReturnType<typeof setTimeout> | undefined
  #stopped = false

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  async start(): Promise<void> {
    await this.#readCursors()
    await this.look()
    this.#schedule()
  }

  /** Shards are committed up to these positions; `sends` if something of it may be for us to send. */
  tell(positions: readonly (readonly [shard: number, position: number])[], sends = true): void {
    for (const [shard, position] of positions)
      if (position > (this.#told.get(shard) ?? 0)) this.#told.set(shard, position)
    if (sends) return this.#followSoon()
    this.#idle ??= setTimeout(() => {
      this.#idle = undefined
      this.#followSoon()
    }, idleMs)
    this.#idle.unref()
  }

  /** Looks by itself how far the shards are, and waits until all of it is taken in. */
  async look(): Promise<void> {
    const rows = await outbox.positions(this.#options.sql)
    this.tell(rows.map(({ shard, position }) => [shard, position]))
    await this.#following
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    clearTimeout(this.#retry)
    clearTimeout(this.#idle)
    await this.#following
  }

  #schedule(): void {
    if (this.#stopped) return
    this.#timer = setTimeout(() => {
      this.look()
        .catch((error: unknown) => this.#warn(error))
        .finally(() => this.#schedule())
    }, this.#options.lookEveryMs ?? 10_000)
    this.#timer.unref()
  }

  #followSoon(): void {
    if (this.#stopped) return
    this.#following ??= this.#follow().then(
      () => {
        this.#following = undefined
        if (this.#stretches().length > 0) this.#followSoon()
      },
      (error: unknown) => {
        this.#following = undefined
        this.#warn(error)
        clearTimeout(this.#retry)
        this.#retry = setTimeout(() => this.#followSoon(), 500)
        this.#retry.unref()
      },
    )
  }

  async #follow(): Promise<void> {
    const { sql, serverName, onNew } = this.#options
    for (let stretches = this.#stretches(); stretches.length > 0; stretches = this.#stretches()) {
      if (this.#stopped) return
      try {
        const servers = await outbox.follow(sql, serverName, stretches)
        for (const { shard, to } of stretches) this.#cursors.set(shard, to)
        if (servers.length > 0) onNew(servers)
      } catch (error) {
        // What was committed of it, the cursors know.
        await this.#readCursors()
        if (!isConflict(error)) throw error
      }
    }
  }

  #stretches(): outbox.Stretch[] {
    const stretches: outbox.Stretch[] = []
    for (const [shard, told] of this.#told) {
      const from = this.#cursors.get(shard)
      if (from !== undefined && told > from)
        stretches.push({ shard, from, to: Math.min(told, from + maxStretch) })
    }
    return stretches
  }

  async #readCursors(): Promise<void> {
    for (const { shard, position } of await outbox.cursors(this.#options.sql))
      this.#cursors.set(shard, position)
  }

  #warn(error: unknown): void {
    this.#options.log.warn({ err: error }, 'events were not queued for other servers')
  }
}
