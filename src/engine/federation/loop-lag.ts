/** How late the event loop of this thread is: what a login or a sync would wait before its turn. */
export class LoopLag {
  readonly #everyMs: number
  readonly #timer: ReturnType<typeof setInterval>
  #expected: number
  #recent = 0

  constructor(everyMs = 50) {
    this.#everyMs = everyMs
    this.#expected = performance.now() + everyMs
    this.#timer = setInterval(() => this.#tick(), everyMs)
    this.#timer.unref()
  }

  /** Milliseconds; a peak fades within a second or so. */
  get ms(): number {
    // A loop that is stuck right now has not ticked.
    return Math.max(this.#recent, performance.now() - this.#expected)
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  #tick(): void {
    const now = performance.now()
    const late = Math.max(0, now - this.#expected)
    this.#recent = Math.max(late, this.#recent * 0.85)
    this.#expected = now + this.#everyMs
  }
}
