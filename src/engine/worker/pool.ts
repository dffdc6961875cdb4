import { unavailable } from '#core/error.ts'
import { shardOf } from '#core/shard.ts'
import { Channel, type ChannelOptions } from '#engine/worker/channel.ts'
import { forwardFederation } from '#engine/worker/forward.ts'
import type { LanesReport, LanesWanted } from '#engine/worker/lane-report.ts'
import type { Sample } from '#engine/worker/measured.ts'
import type {
  Federation,
  FederationCalls,
  RoomCalls,
  Rooms,
  RoomWorkerCalls,
  RoomWorkerStart,
  Signal,
} from '#engine/worker/protocol.ts'

export type PoolOptions = {
  /** How many room workers. */
  workers: number
  /** How many shards there are to deal. */
  shards: number
  /** The module that a worker runs: `src/room-worker.ts`. */
  entry: string
  /** What every worker is told; its name and shards are added. */
  start: Omit<RoomWorkerStart, 'name' | 'shards'>
  /** Answers the workers' requests to other servers: they cross this thread. */
  federation: Federation
  onSignal: (signal: Signal) => void
  /** A worker died, or a handler of it had a bug. */
  onFault: (error: Error, where: string) => void
  /** Calls that may wait for one worker. */
  maxWaiting?: number
  /** Milliseconds before the first restart; doubled for each one that follows soon. */
  restartMs?: number
}

/** Longer than a channel's own minute: these ask other servers, which have deadlines of their own. */
const deadlines: Readonly<Record<string, number>> = {
  join: 180_000,
  changeMembership: 120_000,
  backfill: 60_000,
  send: 30_000,
  receive: 30_000,
  // Steps of imports take their turns, behind everything else.
  importHistory: 300_000,
  start: 30_000,
  stop: 4_000,
  measure: 1_000,
  lanes: 2_000,
}

const maxRestartMs = 10_000
/** A worker that lived this long is forgiven its earlier deaths. */
const healthyMs = 30_000
/** How long a call waits for a worker that is being restarted. */
const patienceMs = 5_000

type Line = Channel<RoomWorkerCalls, FederationCalls>

/** Deals the shards to room workers, sends each call to the owner of its room, restarts the dead. */
export class RoomPool implements Rooms {
  readonly #slots: Slot[]
  readonly #shards: number

  constructor(options: PoolOptions) {
    this.#shards = options.shards
    const count = Math.max(1, Math.min(options.workers, options.shards))
    this.#slots = Array.from({ length: count }, (_, index) => {
      const shards = Array.from({ length: options.shards }, (_each, shard) => shard)
      return new Slot(
        options,
        shards.filter((shard) => shard % count === index),
        `room worker ${index}`,
      )
    })
  }

  /** Starts every worker; fails if one cannot start. */
  async start(): Promise<void> {
    try {
      await Promise.all(this.#slots.map((slot) => slot.start()))
    } catch (error) {
      await this.stop()
      throw error
    }
  }

  async call<M extends keyof RoomCalls>(
    method: M,
    ...args: Parameters<RoomCalls[M]>
  ): Promise<ReturnType<RoomCalls[M]>> {
    const slot = this.#slots[shardOf(args[0], this.#shards) % this.#slots.length]!
    const line = slot.line ?? (await slot.patiently())
    const answer = line.call(method, ...(args as Parameters<RoomWorkerCalls[M]>))
    return answer as Promise<ReturnType<RoomCalls[M]>>
  }

  /** The counters of all workers, summed by name. */
  async counters(): Promise<Map<string, number>> {
    const sums = new Map<string, number>()
    const lines = this.#slots.flatMap((slot) => slot.line ?? [])
    for (const counters of await Promise.all(lines.map((line) => line.call('counters'))))
      for (const [name, value] of Object.entries(counters))
        sums.set(name, (sums.get(name) ?? 0) + value)
    return sums
  }

  /** How many workers there should be, and how many are there. */
  get workers(): { all: number; up: number } {
    const up = this.#slots.filter(({ line }) => line !== undefined).length
    return { all: this.#slots.length, up }
  }

  /** What each worker has measured; nothing of one that does not answer in time. */
  measure(): Promise<{ thread: string; samples: Sample[] | undefined }[]> {
    return Promise.all(
      this.#slots.map(async ({ name, line }) => {
        const waiting = line?.waiting ?? 0
        const samples = await line?.call('measure').catch(() => undefined)
        const own = samples && [...samples, { name: 'calls_waiting', value: waiting }]
        return { thread: name, samples: own }
      }),
    )
  }

  /** What each worker says of its longest lanes, and of some others; nothing if it does not answer in time. */
  lanes(wanted: LanesWanted): Promise<{ thread: string; report: LanesReport | undefined }[]> {
    return Promise.all(
      this.#slots.map(async ({ name, line }) => ({
        thread: name,
        report: await line?.call('lanes', wanted).catch(() => undefined),
      })),
    )
  }

  /** Lets every worker commit what it has decided, and ends it. */
  async stop(): Promise<void> {
    await Promise.all(this.#slots.map((slot) => slot.stop()))
  }
}

/** The place of one worker: the worker in it changes, its shards do not. */
class Slot {
  line: Line | undefined
  readonly #options: PoolOptions
  readonly #shards: number[]
  readonly name: string
  #worker: Worker | undefined
  #wishes: PromiseWithResolvers<Line> = Promise.withResolvers()
  #impatient = 0
  #stopping = false
  #startedAt = 0
  #delay: number
  #timer: ReturnType<typeof setTimeout> | undefined

  constructor(options: PoolOptions, shards: number[], name: string) {
    this.#options = options
    this.#shards = shards
    this.name = name
    this.#delay = options.restartMs ?? 100
    // Nobody may be waiting when the pool stops.
    this.#wishes.promise.catch(() => {})
  }

  async start(): Promise<void> {
    const worker = new Worker(this.#options.entry)
    this.#worker = worker
    const options: ChannelOptions = {
      deadlines,
      maxWaiting: this.#options.maxWaiting ?? 20_000,
      onSignal: this.#options.onSignal,
      onFault: (error, method) => this.#options.onFault(error, `${method}, asked by ${this.name}`),
    }
    const line: Line = new Channel(worker, forwardFederation(this.#options.federation), options)
    worker.addEventListener('error', (event) => {
      event.preventDefault()
      this.#options.onFault(new Error(event.message), this.name)
    })
    worker.addEventListener('close', () => this.#died(worker, line))
    this.#startedAt = performance.now()
    try {
      await line.call('start', {
        ...this.#options.start,
        name: this.name,
        shards: this.#shards,
      })
    } catch (error) {
      worker.terminate()
      throw error
    }
    this.line = line
    this.#wishes.resolve(line)
  }

  /** The line of the worker that is about to start, if that does not take too long. */
  async patiently(): Promise<Line> {
    if (this.#stopping) throw unavailable('The server is stopping')
    if (this.#impatient >= (this.#options.maxWaiting ?? 20_000))
      throw unavailable('Too much work is waiting')
    this.#impatient++
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(
      () => late.reject(unavailable(`The ${this.name} is being restarted`)),
      patienceMs,
    )
    try {
      return await Promise.race([this.#wishes.promise, late.promise])
    } finally {
      clearTimeout(timer)
      this.#impatient--
    }
  }

  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    this.#wishes.reject(unavailable('The server is stopping'))
    const { line } = this
    this.line = undefined
    // One that does not come to an end in time is ended: its lanes resume from the inbox.
    await line?.call('stop').catch((error: unknown) => {
      this.#options.onFault(error instanceof Error ? error : new Error(String(error)), this.name)
    })
    line?.close('The server is stopping')
    this.#worker?.terminate()
  }

  #died(worker: Worker, line: Line): void {
    line.close(`The ${this.name} ended`)
    if (worker !== this.#worker || this.#stopping) return
    this.#worker = undefined
    if (this.line === line) {
      this.line = undefined
      this.#wishes = Promise.withResolvers()
      this.#wishes.promise.catch(() => {})
    }
    const first = this.#options.restartMs ?? 100
    if (performance.now() - this.#startedAt > healthyMs) this.#delay = first
    this.#options.onFault(new Error(`It ended, and restarts in ${this.#delay} ms`), this.name)
    this.#timer = setTimeout(() => this.#restart(), this.#delay)
    this.#delay = Math.min(2 * this.#delay, maxRestartMs)
  }

  #restart(): void {
    // A worker that fails to start is ended, and its end brings us back here.
    this.start().catch((error: unknown) => {
      this.#options.onFault(error instanceof Error ? error : new Error(String(error)), this.name)
    })
  }
}
