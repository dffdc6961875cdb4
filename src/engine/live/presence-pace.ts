/** Between two rounds, however few clients they wake; what each costs; and the longest. */
const pauseMs = 500
const perWokenMs = 4
const longestMs = 10_000
const retryMs = 1_000

/**
 * Runs rounds one after the other: the first at once, the next after a pause that grows with how many
 * clients the last one woke, so that these are some 250 a second at most.
 */
export class Pace {
  readonly #round: () => Promise<number>
  readonly #onFault: (error: unknown) => void
  #running: Promise<boolean> | undefined
  #timer: ReturnType<typeof setTimeout> | undefined
  #notBefore = 0
  /** Whether something came since the round that runs began. */
  #again = false
  #stopped = false

  /** A round answers how many clients it woke. */
  constructor(round: () => Promise<number>, onFault: (error: unknown) => void) {
    this.#round = round
    this.#onFault = onFault
  }

  /** There is something for a round. */
  soon(): void {
    this.#again = true
    if (this.#stopped || this.#running || this.#timer) return
    const wait = Math.max(this.#notBefore - performance.now(), 0)
    this.#timer = setTimeout(() => void this.now(), wait)
    this.#timer.unref()
  }

  /** A round that begins at once, or the one that runs; whether it went well. */
  now(): Promise<boolean> {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#running ??= this.#run().finally(() => {
      this.#running = undefined
      if (this.#again) this.soon()
    })
    return this.#running
  }

  /** Begins no further round, and waits for the one that runs. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#timer)
    await this.#running
  }

  async #run(): Promise<boolean> {
    this.#again = false
    try {
      const woken = await this.#round()
      this.#notBefore = performance.now() + Math.min(pauseMs + perWokenMs * woken, longestMs)
      return true
    } catch (error) {
      this.#onFault(error)
      this.#again = true
      this.#notBefore = performance.now() + retryMs
      return false
    }
  }
}
