import { unavailable } from '#core/error.ts'

const mebibyte = 2 ** 20

/** Bodies up to this size are too small to count: there can be no more of them than connections. */
export const smallBytes = mebibyte / 4

/**
 * The bytes of large bodies that are in memory, of all requests: they have a ceiling, whatever other
 * servers send at once.
 */
export class BodyBytes {
  readonly #most: number
  #bytes = 0

  constructor(most = 256 * mebibyte) {
    this.#most = most
  }

  /** What one request holds of them. */
  hold(): Held {
    let own = 0
    return {
      take: (bytes) => {
        if (this.#bytes + bytes > this.#most)
          throw unavailable('Too many large requests are under way', 2_000)
        own += bytes
        this.#bytes += bytes
      },
      release: () => {
        this.#bytes -= own
        own = 0
      },
    }
  }
}

export type Held = {
  /** Counts bytes that came; refuses the request if they are too many for now. */
  take: (bytes: number) => void
  release: () => void
}

/** Of all listeners. */
export const allBodies = new BodyBytes()
