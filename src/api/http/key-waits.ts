import { unavailable } from '#core/error.ts'

/** Requests that wait for the keys of their origins, and no more of them than are said. */
export class KeyWaits {
  readonly #most: number
  #count = 0

  constructor(most = 2_000) {
    this.#most = most
  }

  get waiting(): number {
    return this.#count
  }

  /** What `ask` finds; anybody can name servers that hang, so too many are refused. */
  async run<T>(ask: () => Promise<T>): Promise<T> {
    if (this.#count >= this.#most)
      throw unavailable('Too many requests wait for the keys of other servers', 5_000)
    this.#count++
    try {
      return await ask()
    } finally {
      this.#count--
    }
  }
}
