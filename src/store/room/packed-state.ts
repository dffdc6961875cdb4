import { zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type { Steps } from '#core/state-res/steps.ts'

/**
 * A list of (state key, event) pairs as bytes: sorted by key, keys as differences, events as signed
 * differences, all as variable-length integers; compressed where that pays. Event 0 says that a key
 * goes away. The first byte says how the rest is written.
 */

const plain = 0
const compressed = 1

export type Pairs = { keys: Float64Array; events: Float64Array }

/** Below it zstd costs more than it saves. */
const worthwhile = 256

/** Numbers of a shard are as far apart as there are shards: the remainder is written once. */
const usualStep = 64

/** Entries between two yields. */
const perStep = 2_000

/** The same at once. */
export function pack(pairs: Pairs): Uint8Array {
  for (const steps = packing(pairs); ;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

/** Packs some entries at a time: tens of thousands take milliseconds. */
export function* packing({ keys, events }: Pairs): Steps<Uint8Array> {
  const bytes = new Writer(20 + 12 * keys.length)
  bytes.byte(plain)
  bytes.unsigned(keys.length)
  const some = (events.find((event) => event !== 0) ?? 0) % usualStep
  const alike = events.every(
    (event) => event === 0 || (event > usualStep && event % usualStep === some),
  )
  const step = alike ? usualStep : 1
  const remainder = alike ? some : 0
  bytes.unsigned(step)
  bytes.unsigned(remainder)
  // Keys and events apart: alike follows alike, which compresses better.
  let last = 0
  for (let at = 0; at < keys.length; at++) {
    const key = keys[at]!
    bytes.unsigned(key - last)
    last = key
    if (at % perStep === perStep - 1) yield
  }
  last = 0
  for (let at = 0; at < events.length; at++) {
    if (at % perStep === perStep - 1) yield
    const event = events[at]!
    const counter = event === 0 ? 0 : Math.floor(event / step)
    bytes.signed(counter - last)
    last = counter
  }
  const packed = bytes.done()
  if (packed.length < worthwhile) return packed
  const small = zstdCompressSync(packed.subarray(1))
  if (small.length + 1 >= packed.length) return packed
  const out = new Uint8Array(small.length + 1)
  out[0] = compressed
  out.set(small, 1)
  return out
}

export function unpack(packed: Uint8Array): Pairs {
  const body = packed.subarray(1)
  const reader = new Reader(packed[0] === compressed ? zstdDecompressSync(body) : body)
  const length = reader.unsigned()
  const step = reader.unsigned()
  const remainder = reader.unsigned()
  const keys = new Float64Array(length)
  const events = new Float64Array(length)
  let last = 0
  for (let at = 0; at < length; at++) keys[at] = last += reader.unsigned()
  last = 0
  for (let at = 0; at < length; at++) {
    last += reader.signed()
    events[at] = last === 0 ? 0 : last * step + remainder
  }
  return { keys, events }
}

class Writer {
  #bytes: Uint8Array
  #length = 0

  constructor(size: number) {
    this.#bytes = new Uint8Array(size)
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#bytes.length)
      larger.set(this.#bytes)
      this.#bytes = larger
    }
    this.#bytes[this.#length++] = value
  }

  /** Numbers are below 2^53: the low 28 bits are taken as an integer, the rest by division. */
  unsigned(value: number): void {
    while (value >= 0x1000_0000) {
      this.byte((value % 128) | 0x80)
      value = Math.floor(value / 128)
    }
    while (value >= 128) {
      this.byte((value & 0x7f) | 0x80)
      value >>>= 7
    }
    this.byte(value)
  }

  signed(value: number): void {
    this.unsigned(value < 0 ? -2 * value - 1 : 2 * value)
  }

  done(): Uint8Array {
    return this.#bytes.slice(0, this.#length)
  }
}

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  unsigned(): number {
    let value = 0
    let factor = 1
    for (;;) {
      const byte = this.#bytes[this.#at++]
      if (byte === undefined) throw new Error('A packed state is cut off')
      value += (byte & 0x7f) * factor
      if (byte < 128) return value
      factor *= 128
    }
  }

  signed(): number {
    const value = this.unsigned()
    return value % 2 === 1 ? -(value + 1) / 2 : value / 2
  }
}
