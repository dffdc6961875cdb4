/** Those who wait for media that is created and not yet uploaded. */
export class WaitingUploads {
  readonly #most: number
  readonly #waiting = new Map<string, Set<() => void>>()
  #count = 0

  constructor(most = 10_000) {
    this.#most = most
  }

  get waiting(): number {
    return this.#count
  }

  /** Waits until an ID has its content, or the time is over; at once if too many wait already. */
  async wait(mediaId: string, ms: number): Promise<void> {
    if (ms <= 0 || this.#count >= this.#most) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    const others = this.#waiting.get(mediaId) ?? new Set()
    this.#waiting.set(mediaId, others.add(resolve))
    this.#count++
    try {
      await promise
    } finally {
      clearTimeout(timer)
      this.#count--
      others.delete(resolve)
      if (others.size === 0 && this.#waiting.get(mediaId) === others) this.#waiting.delete(mediaId)
    }
  }

  /** An ID has its content now. */
  wake(mediaId: string): void {
    for (const resolve of this.#waiting.get(mediaId) ?? []) resolve()
  }

  /** The server stops. */
  wakeAll(): void {
    for (const mediaId of this.#waiting.keys()) this.wake(mediaId)
  }
}
