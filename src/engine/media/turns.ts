import { unavailable } from '#core/error.ts'

/** Lets so many pieces of work run at once, and so many wait; more are refused. */
export class Turns {
  readonly #atOnce: number
  readonly #mayWait: number
  readonly #waiting: (() => void)[] = []
  #running = 0

  constructor(atOnce: number, mayWait: number) {
    this.#atOnce = atOnce
    this.#mayWait = mayWait
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#running >= this.#atOnce) {
      if (this.#waiting.length >= this.#mayWait) throw unavailable('Too much work is waiting')
      await new Promise<void>((resolve) => this.#waiting.push(resolve))
    } else this.#running++
    try {
      return await work()
    } finally {
      // Whoever waits takes over the place as it is.
      const next = this.#waiting.shift()
      if (next) next()
      else this.#running--
    }
  }
}
