const lifetimeMs = 60_000

/** Texts that are each good for one request soon after; in memory, since they need not outlive it. */
export class Nonces {
  readonly #clock: () => number
  readonly #max: number
  readonly #expiry = new Map<string, number>()

  constructor(clock: () => number, max = 1000) {
    this.#clock = clock
    this.#max = max
  }

  /** A new one; the oldest is given up if there are too many. */
  make(): string {
    const [oldest] = this.#expiry.keys()
    if (oldest !== undefined && this.#expiry.size >= this.#max) this.#expiry.delete(oldest)
    const nonce = Buffer.from(crypto.getRandomValues(new Uint8Array(32))).toString('hex')
    this.#expiry.set(nonce, this.#clock() + lifetimeMs)
    return nonce
  }

  /** Whether it is one, and not too old; it is none afterwards. */
  take(nonce: string): boolean {
    const expiry = this.#expiry.get(nonce)
    this.#expiry.delete(nonce)
    return expiry !== undefined && this.#clock() < expiry
  }
}
