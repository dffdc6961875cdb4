type Waiter = { key: string; enter: () => void }

/** Lets so many through at once, and so many of one key, so that no one peer takes all there is. */
export class Gate {
  readonly #limits: { total: number; perKey: number }
  readonly #inside = new Map<string, number>()
  readonly #waiting: Waiter[] = []
  #count = 0

  constructor(limits: { total: number; perKey: number }) {
    this.#limits = limits
  }

  async run<T>(key: string, body: () => Promise<T>): Promise<T> {
    await new Promise<void>((enter) => {
      this.#waiting.push({ key, enter })
      this.#admit()
    })
    try {
      return await body()
    } finally {
      this.#count--
      const left = this.#inside.get(key)! - 1
      if (left > 0) this.#inside.set(key, left)
      else this.#inside.delete(key)
      this.#admit()
    }
  }

  #admit(): void {
    const { total, perKey } = this.#limits
    for (let at = 0; at < this.#waiting.length && this.#count < total;) {
      const { key, enter } = this.#waiting[at]!
      const inside = this.#inside.get(key) ?? 0
      if (inside >= perKey) {
        at++
        continue
      }
      this.#waiting.splice(at, 1)
      this.#inside.set(key, inside + 1)
      this.#count++
      enter()
    }
  }
}
