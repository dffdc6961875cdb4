/** Names that are remembered with what they mean: twice as many at most. */
const perGeneration = 25_000
/** Bits for each name that is remembered no more, and how many of them it sets: one in fifty others looks like one. */
const bitsOfName = 10
const hashes = 4
/** Names of the first filter; each that follows has room for four times as many, up to the last. */
const firstFilter = 100_000
const largestFilter = 1_600_000

/** Which names may have been added: never no for one that was. */
class Filter {
  readonly bytes: number
  readonly #bits: Uint32Array
  readonly #mask: number
  #left: number

  constructor(names: number) {
    const bits = 2 ** Math.ceil(Math.log2(names * bitsOfName))
    this.#bits = new Uint32Array(bits / 32)
    this.#mask = bits - 1
    this.#left = names
    this.bytes = bits / 8
  }

  get isFull(): boolean {
    return this.#left <= 0
  }

  add(one: number, two: number): void {
    this.#left--
    for (let n = 0; n < hashes; n++) {
      const bit = (one + n * two) & this.#mask
      this.#bits[bit >>> 5]! |= 1 << (bit & 31)
    }
  }

  has(one: number, two: number): boolean {
    for (let n = 0; n < hashes; n++) {
      const bit = (one + n * two) & this.#mask
      if ((this.#bits[bit >>> 5]! & (1 << (bit & 31))) === 0) return false
    }
    return true
  }
}

const hashOf = (name: string) => Bun.hash.xxHash32(name)
// Odd, so that it goes through all bits.
const stepOf = (name: string) => Bun.hash.xxHash32(name, 1) | 1

/**
 * What names mean, of the last tens of thousands; of those before, whether there may have been one. Two
 * generations: to drop the oldest of a map one by one takes longer the more were dropped before.
 */
export class Names<T> {
  #young = new Map<string, T>()
  #old = new Map<string, T>()
  readonly #gone: Filter[] = []

  get size(): number {
    return this.#young.size + this.#old.size
  }

  /** Bytes of what is known of those that are remembered no more. */
  get filterBytes(): number {
    return this.#gone.reduce((sum, { bytes }) => sum + bytes, 0)
  }

  get(name: string): T | undefined {
    return this.#young.get(name) ?? this.#old.get(name)
  }

  set(name: string, value: T): void {
    this.#young.set(name, value)
    if (this.#young.size < perGeneration) return
    for (const each of this.#old.keys()) this.#forget(each)
    this.#old = this.#young
    this.#young = new Map()
  }

  /** Whether a name may have been set; if not, it was not. */
  mayHave(name: string): boolean {
    if (this.#young.has(name) || this.#old.has(name)) return true
    if (this.#gone.length === 0) return false
    const one = hashOf(name)
    const two = stepOf(name)
    return this.#gone.some((filter) => filter.has(one, two))
  }

  #forget(name: string): void {
    let filter = this.#gone.at(-1)
    if (!filter || filter.isFull) {
      filter = new Filter(Math.min(firstFilter * 4 ** this.#gone.length, largestFilter))
      this.#gone.push(filter)
    }
    filter.add(hashOf(name), stepOf(name))
  }
}
