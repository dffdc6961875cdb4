import { isConflict, isConnectionLost, isOutOfResources, type Pool } from '#store/db.ts'
import type { Batch, Lease, Placement, RoomPart } from '#store/room/batch.ts'
import { commit, isLeaseLost, isOvertaken } from '#store/room/commit.ts'
import { outcomeOf, type Shard } from '#store/room/shards.ts'
import { CommitCost } from '#engine/room/commit/commit-cost.ts'
import { CommitMeter } from '#engine/room/commit/commit-meter.ts'
import { Absence } from '#engine/room/commit/absence.ts'
import type { Decided, Persisted } from '#engine/room/decide/decided.ts'
import { type Selection, awaited, fill } from '#engine/room/commit/fill.ts'
import { mergeOutcomes } from '#engine/room/commit/merge.ts'
import type { Work } from '#engine/room/work.ts'

export type PersistOptions = {
  pool: Pool
  /** The shards that this worker owns. */
  shards: ReadonlyMap<number, Shard>
  /**
   * Committed up to here: readers may look. Called before any work is answered. `sends` if something of it
   * is for us to send to other servers.
   */
  onCommitted: (positions: [shard: number, position: number][], sends: boolean) => void
  /** Another process owns a shard of ours now, or the database is not what it was: stop at once. */
  onFatal: (error: Error) => void
  onError: (error: unknown, what: string) => void
  commit?: (pool: Pool, batch: Batch) => Promise<void>
  /** Whether lanes are at work, and more comes soon; when they rest, `settle` is called. */
  moreComes?: () => boolean
  /** What the events of a batch may take, in milliseconds. */
  targetMs?: number
  maxEvents?: number
  maxBytes?: number
}

const maxInFlight = 2
/** For so long, in milliseconds, what nobody waits for may be collected. */
const collectMs = 50
/** No batch is cut below this for what it might take: fewer cost less than the transaction does. */
const leastEvents = 100
const firstRetryMs = 50
const maxRetryMs = 2_000
/** How often a batch is sent again whose session ended, and not its server. */
const maxCuts = 10
/** For so long local users wait for a database that is there and can take nothing. */
const lackMs = 1_000

/**
 * Persists decided work of all lanes in group commits. What a local user waits for goes at once, or
 * with what came in while a commit was in flight. What came from outside is collected while lanes are
 * at work: a transaction costs as much as many events. At most one commit is in flight per shard, so
 * that commit order is position order; two over disjoint shards, so that a flooded shard never rides
 * with a quiet one.
 */
export class Persister {
  readonly #options: PersistOptions
  readonly #pending = new Map<number, Map<Persisted, Decided[]>>()
  readonly #busy = new Set<number>()
  /** Rooms with decided work in a batch that is under way. */
  readonly #flying = new Set<Persisted>()
  #inFlight = 0
  /** How much waits in each shard, and how much of it for a local user. */
  readonly #tallies = new Map<number, { count: number; local: number }>()
  #count = 0
  #bytes = 0
  readonly #cost = new CommitCost()
  readonly #absence = new Absence()
  /** Since when what waits is being collected. */
  #since = 0
  #timer: ReturnType<typeof setTimeout> | undefined
  readonly #waiters: { below: number; resolve: () => void }[] = []
  readonly counters = new CommitMeter()

  constructor(options: PersistOptions) {
    this.#options = options
  }

  /** How much is decided and not committed, of what waits. */
  get pending(): number {
    return this.#count
  }

  get pendingBytes(): number {
    return this.#bytes
  }

  /** For how many milliseconds PostgreSQL has not taken a commit; 0 if it does. */
  get awayMs(): number {
    return this.#absence.ms
  }

  /** Whether a commit of what this room decided is under way. */
  isFlying = (room: Persisted): boolean => this.#flying.has(room)

  /** Why work that has not begun is refused after so long without a commit; undefined if it may try. */
  refusal(afterMs: number): Error | undefined {
    return this.#absence.refusal(afterMs)
  }

  add(decided: Decided): void {
    const { room, work } = decided
    let rooms = this.#pending.get(room.shard)
    if (!rooms) this.#pending.set(room.shard, (rooms = new Map()))
    const list = rooms.get(room)
    if (list) list.push(decided)
    else rooms.set(room, [decided])
    const tally = this.#tallies.get(room.shard)
    if (tally) {
      tally.count++
      if (work.local) tally.local++
    } else this.#tallies.set(room.shard, { count: 1, local: work.local ? 1 : 0 })
    if (this.#count === 0) this.#since = performance.now()
    this.#count++
    this.#bytes += work.bytes
    // While it is collected, only this many or a local user make a difference.
    if (this.#timer === undefined || work.local || this.#count >= this.#aim()) this.#kick()
  }

  /** Lanes are at rest: nothing more comes for now. */
  settle(): void {
    if (this.#count > 0) this.#kick()
  }

  /** Resolves when fewer than so many wait: lanes decide no further ahead than that. */
  async below(count: number): Promise<void> {
    if (this.#count < count) return
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#waiters.push({ below: count, resolve })
    await promise
  }

  /** Takes back what waits of a room, in order: it was decided on what is no longer so. */
  withdraw(room: Persisted): Work<never>[] {
    const rooms = this.#pending.get(room.shard)
    const list = rooms?.get(room) ?? []
    rooms?.delete(room)
    if (rooms?.size === 0) this.#pending.delete(room.shard)
    this.#took(room.shard, list)
    return list.map(({ work }) => work)
  }

  /** Resolves when nothing waits and nothing is in flight. */
  async idle(): Promise<void> {
    while (this.#count > 0 || this.#inFlight > 0) {
      const { promise, resolve } = Promise.withResolvers<void>()
      this.#waiters.push({ below: 1, resolve })
      await promise
    }
  }

  #took(shard: number, list: readonly Decided[]): void {
    if (list.length === 0) return
    const tally = this.#tallies.get(shard)!
    tally.count -= list.length
    this.#count -= list.length
    for (const { work } of list) {
      if (work.local) tally.local--
      this.#bytes -= work.bytes
    }
    if (tally.count === 0) this.#tallies.delete(shard)
  }

  #kick(): void {
    while (this.#inFlight < maxInFlight && this.#isRipe()) {
      const selection = fill(this.#pending, this.#busy, this.#limits())
      if (selection.size === 0) break
      for (const [shard, rooms] of selection) {
        this.#busy.add(shard)
        for (const [room, list] of rooms) {
          this.#flying.add(room)
          this.#took(shard, list)
        }
      }
      this.#inFlight++
      this.#since = performance.now()
      void this.#persist(selection)
    }
    this.#wake()
  }

  /** Whether what waits, of shards without a commit in flight, is to be committed now. */
  #isRipe(): boolean {
    let count = 0
    for (const [shard, tally] of this.#tallies) {
      if (this.#busy.has(shard)) continue
      if (tally.local > 0) return true
      count += tally.count
    }
    if (count === 0) return false
    if (count >= this.#aim()) return true
    if (this.#inFlight === 0 && !this.#options.moreComes?.()) return true
    const waitedMs = performance.now() - this.#since
    if (waitedMs >= collectMs) return true
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined
      this.#kick()
    }, collectMs - waitedMs)
    return false
  }

  /** How many events a batch is to hold where others wait for the next one. */
  #aim(): number {
    const { targetMs = 5, maxEvents = 500 } = this.#options
    // A transaction that takes long by itself is worth as much again of events, within bounds.
    const ms = Math.max(targetMs, Math.min(this.#cost.fixed, 4 * targetMs))
    return Math.min(maxEvents, Math.max(leastEvents, this.#cost.eventsFor(ms)))
  }

  #limits() {
    const { maxEvents = 500, maxBytes = 4_000_000 } = this.#options
    let rooms = 0
    for (const of of this.#pending.values()) rooms += of.size
    return { maxEvents: rooms > 1 ? this.#aim() : maxEvents, maxBytes }
  }

  #wake(): void {
    for (let i = this.#waiters.length - 1; i >= 0; i--) {
      const { below, resolve } = this.#waiters[i]!
      if (this.#count >= below) continue
      this.#waiters.splice(i, 1)
      resolve()
    }
  }

  async #persist(selection: Selection): Promise<void> {
    try {
      const error = await this.#attempt(selection)
      if (error !== undefined && isOutOfResources(error)) this.#giveBack(selection, error)
      else if (error !== undefined) await this.#oneByOne(selection)
    } catch (error) {
      this.#options.onFatal(error instanceof Error ? error : new Error(String(error)))
    } finally {
      for (const [shard, rooms] of selection) {
        this.#busy.delete(shard)
        for (const room of rooms.keys()) this.#flying.delete(room)
      }
      this.#inFlight--
      this.#kick()
    }
  }

  /** The whole batch failed for what is in it: each room by itself, and the bad one not at all. */
  async #oneByOne(selection: Selection): Promise<void> {
    this.counters.failedBatches++
    for (const [shard, rooms] of selection) {
      for (const [room, list] of rooms) {
        const alone: Selection = new Map([[shard, new Map([[room, list]])]])
        const error = await this.#attempt(alone)
        if (error === undefined) continue
        if (isOutOfResources(error)) {
          this.#giveBack(alone, error)
          continue
        }
        this.#options.onError(error, 'a room could not be persisted')
        const works = [...list.map(({ work }) => work), ...this.withdraw(room)]
        room.commitFailed(works, list.length === 1 ? error : undefined)
      }
    }
  }

  /** Commits a batch, however long PostgreSQL is away. The error, if it is the batch's own. */
  async #attempt(selection: Selection): Promise<Error | undefined> {
    const built = this.#build(selection)
    const began = performance.now()
    const run = this.#options.commit ?? commit
    let isFirst = true
    let cuts = 0
    for (let delay = firstRetryMs; ; delay = Math.min(2 * delay, maxRetryMs)) {
      try {
        await run(this.#options.pool, built.batch)
        break
      } catch (error) {
        if (isLeaseLost(error) || isOvertaken(error)) throw error
        if (isConnectionLost(error)) {
          if (await this.#wasCommitted(built.batch)) break
          // What ends its session each time is no different from what fails.
          if (++cuts > maxCuts) return error as Error
          await Bun.sleep(delay)
        } else if (isOutOfResources(error)) {
          if (this.#lacks(error as Error, selection)) return error as Error
          await Bun.sleep(delay)
        } else if (!isConflict(error))
          return error instanceof Error ? error : new Error(String(error))
        this.counters.retries++
        if (isFirst) this.#options.onError(error, 'a commit is tried again')
        isFirst = false
      }
    }
    this.#absence.end()
    const tookMs = performance.now() - began
    this.counters.took(built.firsts.size, tookMs)
    // What was tried again says nothing of what a commit takes.
    if (isFirst) this.#cost.learn(built.firsts.size, tookMs)
    this.#succeed(selection, built)
    return undefined
  }

  /**
   * The database can take nothing. No local user is to wait behind what is tried again: answers whether
   * one does behind this batch, which is to be given back then, with what was decided on top of it.
   */
  #lacks(lack: Error, selection: Selection): boolean {
    this.#absence.begin(lack)
    if (this.awayMs <= lackMs) return false
    const { rooms, inSelection } = awaited(this.#pending, this.#flying, selection)
    for (const room of rooms) room.commitRefused(this.withdraw(room), lack)
    return inSelection
  }

  #giveBack(selection: Selection, lack: Error): void {
    this.#absence.letTry()
    for (const rooms of selection.values())
      for (const [room, list] of rooms)
        room.commitRefused([...list.map(({ work }) => work), ...this.withdraw(room)], lack)
  }

  /** The connection was lost: asks until PostgreSQL can say what became of the batch. */
  async #wasCommitted(batch: Batch): Promise<boolean> {
    this.#absence.begin()
    const shards = batch.shards.map(({ shard }) => shard)
    for (let delay = firstRetryMs; ; delay = Math.min(2 * delay, maxRetryMs)) {
      try {
        const { committed, shards: rows } = await outcomeOf(this.#options.pool, shards, batch.id)
        if (committed) return true
        // The question itself has left a mark, so that a commit that is still on its way must fail.
        const marks = new Map(rows.map((row) => [row.shard, row.batch]))
        for (const advance of batch.shards) {
          const mark = marks.get(advance.shard) ?? null
          advance.previous = mark
          this.#options.shards.get(advance.shard)!.batch = mark
        }
        return false
      } catch (error) {
        if (!isConnectionLost(error) && !isOutOfResources(error) && !isConflict(error)) throw error
        await Bun.sleep(delay)
      }
    }
  }

  #build(selection: Selection): { batch: Batch; firsts: Map<Decided, number> } {
    const batch: Batch = { id: crypto.randomUUID(), shards: [], parts: [] }
    const firsts = new Map<Decided, number>()
    for (const [number, rooms] of selection) {
      const shard = this.#options.shards.get(number)
      if (!shard) throw new Error(`shard ${number} is not ours`)
      const counts = { position: shard.position, ingest: shard.ingest }
      for (const list of rooms.values()) {
        let first = counts.position + 1
        for (const decided of list) {
          firsts.set(decided, first)
          first += decided.outcome.positions
        }
        batch.parts.push(
          mergeOutcomes(
            list.map(({ outcome }) => outcome),
            counts,
          ),
        )
      }
      const lease: Lease = { shard: number, epoch: shard.epoch }
      batch.shards.push({ ...lease, previous: shard.batch, counter: shard.counter, ...counts })
    }
    return { batch, firsts }
  }

  #succeed(
    selection: Selection,
    { batch, firsts }: { batch: Batch; firsts: Map<Decided, number> },
  ): void {
    for (const { shard, position, ingest } of batch.shards) {
      const ours = this.#options.shards.get(shard)!
      ours.position = position
      ours.ingest = ingest
      ours.batch = batch.id
    }
    this.counters.commits++
    this.counters.events += firsts.size
    const positions = batch.shards.map(({ shard, position }): [number, number] => [shard, position])
    this.#options.onCommitted(positions, batch.parts.some(isSent))
    for (const [shard, rooms] of selection)
      for (const list of rooms.values())
        for (const decided of list)
          decided.work.committed({ shard, firstPosition: firsts.get(decided)! })
  }
}

/** Whether a part has events that go to other servers by us. */
const isSent = ({ events, revised }: RoomPart): boolean =>
  events.some(hasDestinations) || revised.some(hasDestinations)

const hasDestinations = ({ destinationSet }: Placement) => destinationSet !== null
