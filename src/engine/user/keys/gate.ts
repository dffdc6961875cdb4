import { limitExceeded } from '#core/error.ts'

/**
 * Lets so many tasks of each key run at once; others wait for their turn, in order, up to a bound.
 */
export class Gate {
  readonly #atOnce: number
  readonly #maxWaiting: number
  readonly #keys = new Map<string, { running: number; waiting: (() => void)[] }>()

  constructor(atOnce: number, maxWaiting: number) {
    this.#atOnce = atOnce
    this.#maxWaiting = maxWaiting
  }

  /** How many of all keys wait for their turn. */
  get waiting(): number {
    return this.#keys.values().reduce((count, { waiting }) => count + waiting.length, 0)
  }

  async run<T>(key: string, task: () => Promise<T>): Promise<T> {
    let line = this.#keys.get(key)
    if (!line) this.#keys.set(key, (line = { running: 0, waiting: [] }))
    if (line.running >= this.#atOnce) {
      if (line.waiting.length >= this.#maxWaiting) throw limitExceeded(1000)
      const { promise, resolve } = Promise.withResolvers<void>()
      line.waiting.push(resolve)
      // Whoever ends hands the place on.
      await promise
    } else line.running++
    try {
      return await task()
    } finally {
      const next = line.waiting.shift()
      if (next) next()
      else if (--line.running === 0) this.#keys.delete(key)
    }
  }
}
