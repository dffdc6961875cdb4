/** Lets through so many a second, together (`--rate`). */
export class Pace {
  readonly #rate: number
  #free = 0

  constructor(rate: number | undefined) {
    this.#rate = rate ?? Number.POSITIVE_INFINITY
  }

  /** Waits until so many may go. */
  async take(count: number): Promise<void> {
    if (this.#rate === Number.POSITIVE_INFINITY) return
    const now = performance.now()
    const from = Math.max(now, this.#free)
    this.#free = from + (count / this.#rate) * 1000
    if (from > now) await Bun.sleep(from - now)
  }
}
