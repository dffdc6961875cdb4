import { MatrixError, unavailable } from '#core/error.ts'
import { isConnectionLost, isOutOfResources, lackOf } from '#store/db.ts'
import type { Answer } from '#engine/room/asked.ts'
import { Inbound } from '#engine/room/inbox/inbound.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Persisted } from '#engine/room/decide/decided.ts'
import { forget, type Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'
import type { Seat } from '#engine/room/turns.ts'
import { Ties } from '#engine/room/decide/tie.ts'
import { RoomReloaded, type Work } from '#engine/room/work.ts'

/** Work as a lane holds it; `alone` if its commit failed before. */
export type Item = { work: Work<Lane>; alone: boolean }

/** How often work may be decided again because its room was reloaded under it. */
const maxReloads = 50

/**
 * The queue of one room. One event of the room is decided at a time, twice over: what local users wait
 * for has a strand of its own, so that it never waits for a resolution that takes its turns in the
 * other. The two meet where outcomes are applied to the room, which nothing interrupts.
 */
export class Lane implements Persisted {
  readonly roomId: string
  readonly shard: number
  readonly parts: Parts
  /** The room, once it is loaded; null if there is none. */
  room: Room | null | undefined
  readonly inbound: Inbound
  readonly ties: Ties
  readonly #ahead: Seat
  readonly #local: Item[] = []
  #localRunning = false
  #loading: Promise<Room | null> | undefined
  #kept = 0
  /** The room is being taken away: whoever asks for it waits. */
  #closed: PromiseWithResolvers<void> | undefined
  usedAt = 0

  constructor(parts: Parts, roomId: string, shard: number) {
    this.parts = parts
    this.roomId = roomId
    this.shard = shard
    this.#ahead = parts.turns.seat(true)
    this.inbound = new Inbound(this, parts.turns.seat(false))
    this.ties = new Ties(this)
  }

  /** Whether it could be forgotten: nothing waits in it. */
  get idle(): boolean {
    return (
      !this.#localRunning &&
      this.#local.length === 0 &&
      this.#loading === undefined &&
      this.#kept === 0 &&
      this.#closed === undefined &&
      this.inbound.idle &&
      (this.room?.uncommitted.size ?? 0) === 0
    )
  }

  get length(): number {
    return this.#local.length + this.inbound.length
  }

  /** How it is just now, for whoever looks into it. */
  get inside() {
    return {
      local: this.#local.length + (this.#localRunning ? 1 : 0),
      isLoading: this.#loading !== undefined,
      isClosed: this.#closed !== undefined,
      hasTurn: this.#ahead.ready,
      spentMs: this.#ahead.spentMs,
    }
  }

  /** Decides and persists something that a local user waits for. */
  perform<T>(make: (answer: Answer<T>) => Work<Lane>): Promise<T> {
    return this.#ask(make, (item) => {
      this.#local.push(item)
      this.#runLocal()
    })
  }

  /**
   * The same for what another server hands in and waits for: it may take a resolution, so it is
   * decided among the events of other servers, before those that nobody waits for.
   */
  admit<T>(make: (answer: Answer<T>) => Work<Lane>): Promise<T> {
    return this.#ask(make, (item) => this.inbound.again([item]))
  }

  #ask<T>(make: (answer: Answer<T>) => Work<Lane>, take: (item: Item) => void): Promise<T> {
    const refusal = this.parts.persister.refusal(this.parts.limits.awayMs)
    if (refusal) return Promise.reject(answerable(refusal))
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    take({ work: make({ resolve, reject }), alone: false })
    return promise
  }

  /**
   * Keeps the lane in memory while something is under way that will come back to it. What fails is
   * told as whoever waits must hear it.
   */
  async keep<T>(run: () => Promise<T>): Promise<T> {
    this.#kept++
    try {
      return await run()
    } catch (error) {
      throw answerable(error)
    } finally {
      this.#kept--
      this.usedAt = this.parts.now()
    }
  }

  /** The room, loaded if it must be. */
  *load(): Task<Room | null> {
    while (this.#closed) yield* wait(this.#closed.promise)
    if (this.room !== undefined) return this.room
    this.#loading ??= this.parts.loadRoom(this.roomId, this.shard).then(
      (room) => {
        this.#loading = undefined
        // Created while it was looked for.
        this.room ??= room
        return this.room
      },
      (error: unknown) => {
        this.#loading = undefined
        throw error
      },
    )
    return yield* wait(this.#loading)
  }

  /** Decides one piece of work and hands it to the persister. */
  *decide({ work, alone }: Item): Task<void> {
    for (let reloads = 0; ; reloads++) {
      try {
        const outcome = yield* work.decide(this)
        if (outcome !== null) this.parts.persister.add({ room: this, work, outcome, alone })
        return
      } catch (error) {
        if (error instanceof RoomReloaded && reloads < maxReloads) continue
        work.failed(answerable(error))
        return
      }
    }
  }

  commitFailed(works: Work<never>[], culprit: Error | undefined): void {
    this.reopen()
    this.reload()
    const again = works as Work<Lane>[]
    if (culprit) this.#quarantine(again.shift()!, culprit)
    const items = again.map((work) => ({ work, alone: true }))
    this.#local.unshift(...items.filter(({ work }) => work.local))
    this.inbound.again(items.filter(({ work }) => !work.local))
    this.#runLocal()
  }

  commitRefused(works: Work<never>[], lack: Error): void {
    this.reopen()
    this.reload()
    const all = works as Work<Lane>[]
    for (const work of all) if (work.local) work.failed(answerable(lack))
    const others = all.filter(({ local }) => !local)
    if (others.length > 0) this.inbound.again(others.map((work) => ({ work, alone: false })))
  }

  /** Forgets the room in memory: it is not what the database has. */
  reload(): void {
    if (!this.room) return
    forget(this.parts, this.room)
    this.room = undefined
  }

  /** Lets nobody at the room until it is opened again; what was being decided on it is decided anew then. */
  close(): void {
    this.#closed ??= Promise.withResolvers()
    this.reload()
  }

  reopen(): void {
    this.#closed?.resolve()
    this.#closed = undefined
  }

  #quarantine(work: Work<Lane>, culprit: Error): void {
    this.parts.counters.quarantined++
    this.parts.onError(culprit, `work of ${this.roomId} could not be persisted`)
    work.failed(new MatrixError(500, 'M_UNKNOWN', 'The event could not be stored'))
    this.inbound.quarantine(work.inboxIds, culprit)
  }

  #runLocal(): void {
    if (this.#localRunning || this.#local.length === 0) return
    this.#localRunning = true
    this.#ahead.run(this.#drainLocal()).catch((error: unknown) => {
      this.parts.onError(error, 'a lane failed')
    })
  }

  *#drainLocal(): Task<void> {
    try {
      for (let item = this.#local.shift(); item; item = this.#local.shift()) {
        yield* this.decide(item)
        yield
      }
    } finally {
      this.#localRunning = false
      this.usedAt = this.parts.now()
    }
  }
}

/** What whoever waits is told: that the database is away is no fault of anybody's, and passes. */
export function answerable(error: unknown): Error {
  if (isConnectionLost(error)) return unavailable('The database is away', 2_000)
  if (isOutOfResources(error)) return unavailable(lackOf(error), 10_000)
  return error instanceof Error ? error : new Error(String(error))
}
