import { type Json, type JsonObject, setKey } from '#core/json.ts'

/** A small seeded generator (mulberry32): a failing case comes back with its seed. */
export class Random {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }

  /** A number from 0 up to 1. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = this.#state
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }

  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!
  }
}

const characters = ['a', 'B', '0', '9', '"', '\\', '/', '\n', '\0', '\x7f', 'é', '\u2028', '日']
const rare = ['\ud7ff', '\ue000', '\uffff', '\u{10000}', '\u{1f600}', '\u{10ffff}']
const specialKeys = ['__proto__', 'constructor', '1', '10', '2', '', 'toString', '-1', '01']

/** A text of up to eight characters, among them those that trip implementations. */
export function randomText(random: Random): string {
  const length = random.below(8)
  return Array.from({ length }, () => random.pick(random.next() < 0.1 ? rare : characters)).join('')
}

export const randomKey = (random: Random): string =>
  random.next() < 0.15 ? random.pick(specialKeys) : randomText(random)

const numbers = [0, -0, 1, -1, 1e15, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER]

/** A JSON value that has a strict canonical form. */
export function randomJson(random: Random, depth = 4): Json {
  const kind = random.below(depth > 0 ? 8 : 5)
  if (kind === 0) return null
  if (kind === 1) return random.next() < 0.5
  if (kind === 2) return random.next() < 0.3 ? random.pick(numbers) : random.below(1000)
  if (kind < 5) return randomText(random)
  const length = random.below(5)
  if (kind === 5) return Array.from({ length }, () => randomJson(random, depth - 1))
  return randomObject(random, depth, length)
}

export function randomObject(random: Random, depth: number, length: number): JsonObject {
  const object: JsonObject = {}
  for (let count = 0; count < length; count++)
    setKey(object, randomKey(random), randomJson(random, depth - 1))
  return object
}
