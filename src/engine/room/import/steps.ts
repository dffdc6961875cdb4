import { limitExceeded, unavailable } from '#core/error.ts'

type Waiting = { roomId: string; begin: () => void; refuse: (error: Error) => void }

/**
 * Lets steps of imports in: those of one room one after the other, those of so many rooms at once. None waits
 * for a step of another room, unless all places are taken.
 */
export class Steps {
  readonly #atOnce: number
  readonly #most: number
  /** Rooms of which a step is under way. */
  readonly #busy = new Set<string>()
  readonly #waiting: Waiting[] = []
  #stopped: PromiseWithResolvers<void> | undefined

  constructor(limits: { importSteps: number; importStepsWaiting: number }) {
    this.#atOnce = limits.importSteps
    this.#most = limits.importStepsWaiting
  }

  get isStopping(): boolean {
    return this.#stopped !== undefined
  }

  /** Runs a step when it is its turn; refuses it if too many wait. */
  async take<T>(roomId: string, run: () => Promise<T>): Promise<T> {
    if (!this.#mayBegin(roomId) && this.#waiting.length >= this.#most) throw limitExceeded(2_000)
    return this.between(roomId, run)
  }

  /** The same of what must not come into a step of its room, however many wait. */
  async between<T>(roomId: string, run: () => Promise<T>): Promise<T> {
    if (this.#stopped) throw stopping()
    if (this.#mayBegin(roomId)) this.#busy.add(roomId)
    else await this.#wait(roomId)
    try {
      return await run()
    } finally {
      this.#busy.delete(roomId)
      this.#next()
    }
  }

  /** Lets nothing more in, and waits for what is under way. */
  async stop(): Promise<void> {
    this.#stopped ??= Promise.withResolvers()
    for (const { refuse } of this.#waiting.splice(0)) refuse(stopping())
    if (this.#busy.size === 0) this.#stopped.resolve()
    await this.#stopped.promise
  }

  #wait(roomId: string): Promise<void> {
    const { promise, resolve: begin, reject: refuse } = Promise.withResolvers<void>()
    this.#waiting.push({ roomId, begin, refuse })
    return promise
  }

  #mayBegin(roomId: string): boolean {
    return !this.#busy.has(roomId) && this.#busy.size < this.#atOnce
  }

  /** Gives the place that became free to the first that may have it. */
  #next(): void {
    if (this.#stopped && this.#busy.size === 0) this.#stopped.resolve()
    const index = this.#waiting.findIndex(({ roomId }) => this.#mayBegin(roomId))
    const [first] = index < 0 ? [] : this.#waiting.splice(index, 1)
    if (!first) return
    this.#busy.add(first.roomId)
    first.begin()
  }
}

const stopping = () => unavailable('The server is stopping')

/** Does one thing after the other. */
export class InTurn {
  #last: Promise<unknown> = Promise.resolve()

  run<T>(work: () => Promise<T>): Promise<T> {
    const done = this.#last.then(work)
    this.#last = done.catch(() => {})
    return done
  }
}
