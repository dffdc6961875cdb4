/** Lets through so many a second, together (`--rate`). */
export class Pace {
  readonly #rate: number
  #free = 0

  constructor(rate: number | undefined) {
    this.#rate = rate ?? Number.POSITIVE_INFINITY
  }

  /** Waits until so many may go, or until it is to end. */
  async take(count: number, finish: AbortSignal): Promise<void> {
    if (this.#rate === Number.POSITIVE_INFINITY) return
    const now = performance.now()
    const from = Math.max(now, this.#free)
    this.#free = from + (count / this.#rate) * 1000
    if (from <= now || finish.aborted) return
    const ended = Promise.withResolvers<void>()
    const timer = setTimeout(ended.resolve, from - now)
    finish.addEventListener('abort', () => ended.resolve(), { once: true })
    await ended.promise
    clearTimeout(timer)
  }
}
