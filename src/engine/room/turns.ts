import { Histogram } from '#core/histogram.ts'
import type { Task } from '#engine/room/task.ts'

export type TurnsOptions = {
  /** What a lane may spend in one turn before the next lane's, in milliseconds. */
  quantumMs?: number
  /** After how long the event loop gets its turn. */
  sliceMs?: number
  /** Called when nothing can go on any more. */
  onRest?: () => void
  /** Milliseconds that only go forward; tests bring their own. */
  clock?: () => number
}

type Job = {
  task: Task<unknown>
  resolve: (value: never) => void
  reject: (error: unknown) => void
}

/**
 * Lets the lanes of a worker take turns: deficit round robin by measured time. Work that a local user
 * waits for goes before the rest, of its own lane and of others; between two rounds of it one other
 * lane gets a turn, so that neither starves.
 */
export class Turns {
  readonly #quantum: number
  readonly #slice: number
  readonly #clock: () => number
  readonly #onRest: () => void
  readonly #ahead: Seat[] = []
  readonly #behind: Seat[] = []
  #scheduled = false
  /** Milliseconds of work done in all turns so far. */
  busyMs = 0
  /** How long turns took, in milliseconds. */
  readonly times = new Histogram()

  constructor({ quantumMs = 1, sliceMs = 4, clock, onRest }: TurnsOptions = {}) {
    this.#quantum = quantumMs
    this.#slice = sliceMs
    this.#clock = clock ?? (() => performance.now())
    this.#onRest = onRest ?? (() => {})
  }

  /** Whether something is at work, or will be in a moment. */
  get isBusy(): boolean {
    return this.#scheduled
  }

  /** A place for one lane's work; `ahead` for what local users wait for. */
  seat(ahead: boolean): Seat {
    return new Seat((seat) => this.#activate(seat, ahead), this.#clock)
  }

  /** How many seats have work that could go on now. */
  get active(): number {
    return this.#ahead.length + this.#behind.length
  }

  #activate(seat: Seat, ahead: boolean): void {
    ;(ahead ? this.#ahead : this.#behind).push(seat)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => this.#round())
  }

  #round(): void {
    const until = this.#clock() + this.#slice
    do {
      for (let left = this.#ahead.length; left > 0; left--) {
        this.#turn(this.#ahead)
        if (this.#clock() >= until) break
      }
      if (this.#behind.length > 0) this.#turn(this.#behind)
    } while (this.active > 0 && this.#clock() < until)
    this.#scheduled = this.active > 0
    if (this.#scheduled) setImmediate(() => this.#round())
    else this.#onRest()
  }

  #turn(seats: Seat[]): void {
    const seat = seats.shift()!
    const ms = seat.work(this.#quantum)
    this.busyMs += ms
    this.times.add(ms)
    if (seat.ready) seats.push(seat)
    else seat.rest()
  }
}

/** The place of one lane among those that take turns. */
export class Seat {
  readonly #activate: (seat: Seat) => void
  readonly #clock: () => number
  readonly #jobs: Job[] = []
  #seated = false
  #deficit = 0
  /** Milliseconds of work done here so far. */
  spentMs = 0

  constructor(activate: (seat: Seat) => void, clock: () => number) {
    this.#activate = activate
    this.#clock = clock
  }

  get ready(): boolean {
    return this.#jobs.length > 0
  }

  /** Runs a task in this lane's turns. */
  run<T>(task: Task<T>): Promise<T> {
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    this.#push({ task, resolve, reject })
    return promise
  }

  /** Takes one turn: goes on with what is ready until the lane has spent what it may. */
  work(quantum: number): number {
    this.#deficit += quantum
    const began = this.#clock()
    let now = began
    while (this.#deficit > 0 && this.#jobs.length > 0) {
      this.#step(this.#jobs[0]!)
      const after = this.#clock()
      this.#deficit -= after - now
      now = after
    }
    this.spentMs += now - began
    return now - began
  }

  /** Nothing is ready: what was not spent is lost, what was overspent stays owed. */
  rest(): void {
    this.#seated = false
    if (this.#deficit > 0) this.#deficit = 0
  }

  #step(job: Job): void {
    let next: IteratorResult<Promise<void> | undefined, unknown>
    try {
      next = job.task.next()
    } catch (error) {
      this.#jobs.shift()
      job.reject(error)
      return
    }
    if (next.done) {
      this.#jobs.shift()
      job.resolve(next.value as never)
    } else if (next.value !== undefined) {
      this.#jobs.shift()
      const goOn = () => this.#push(job)
      next.value.then(goOn, goOn)
    }
  }

  #push(job: Job): void {
    this.#jobs.push(job)
    if (this.#seated) return
    this.#seated = true
    this.#activate(this)
  }
}
