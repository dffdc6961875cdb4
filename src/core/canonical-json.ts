import { type Json, type JsonObject, isRawNumber, rawNumber, setKey } from '#core/json.ts'

/**
 * Canonical JSON, and a parser that keeps what it needs to write it again.
 *
 * `strict` is the text of the spec. `tolerant`, for rooms of version 1–5 and for JSON that is not an
 * event, also takes floats and big integers: those that came over the network as `RawNumber` are
 * written as they came, those of our own as most servers write them.
 *
 * Spec: appendices/#canonical-json
 */
export type CanonicalMode = 'strict' | 'tolerant'

/**
 * Not spec: how deep values may nest. A native stack must survive every later step (JSON.stringify,
 * revivers), and a Python server stops near this depth too.
 */
const maxDepth = 1000

// What stands between a value and `JSON.stringify`, in rising order.
const ordered = 0
const unordered = 1
const exact = 2
const refused = 3

/** The canonical text of a value, or undefined if it has none. */
export function canonicalJson(value: Json, mode: CanonicalMode = 'strict'): string | undefined {
  const strict = mode === 'strict'
  let need = inspect(value, maxDepth, strict)
  if (need === refused) return undefined
  let text: string | undefined
  if (need === ordered) text = JSON.stringify(value)
  else if (need === unordered) {
    const sorted = sortKeys(value)
    if (sorted === undefined) need = exact
    else text = JSON.stringify(sorted)
  }
  // JavaScript compares UTF-16 units. That is the order of code points unless a surrogate meets a
  // character above them. To see that a text is ASCII is cheaper than to look for such a character.
  if (text === undefined || (Buffer.byteLength(text) !== text.length && aboveSurrogates.test(text)))
    text = write(value)
  return strict && text.includes('\\ud') && hasLoneSurrogate(value) ? undefined : text
}

/** The canonical text of a value that this server made; a value that has none is a bug. */
export function requireCanonicalJson(value: Json, mode: CanonicalMode = 'strict'): string {
  const text = canonicalJson(value, mode)
  if (text === undefined) throw new TypeError('The value has no canonical JSON form')
  return text
}

const aboveSurrogates = /[\ue000-\uffff]/

function inspect(value: Json, depth: number, strict: boolean): number {
  if (typeof value === 'number') {
    if (Number.isSafeInteger(value)) return ordered
    return strict || !Number.isFinite(value) ? refused : exact
  }
  if (typeof value !== 'object' || value === null) return ordered
  if (depth === 0) return refused
  let need = ordered
  if (Array.isArray(value)) {
    for (const item of value) {
      const inner = inspect(item, depth - 1, strict)
      if (inner > need) need = inner
    }
    return need
  }
  let previous = ''
  for (const key in value) {
    if (key < previous && need === ordered) need = unordered
    previous = key
    // A raw number is an object with this one key.
    if (key === 'rawJSON' && isRawNumber(value)) return strict ? refused : ordered
    const inner = inspect(value[key]!, depth - 1, strict)
    if (inner > need) need = inner
  }
  return need
}

/** A copy whose keys JavaScript keeps in order; undefined if it would not (integer-like keys). */
function sortKeys(value: Json): Json | undefined {
  if (typeof value !== 'object' || value === null || isRawNumber(value)) return value
  if (Array.isArray(value)) {
    const copy: Json[] = []
    for (const item of value) {
      const sorted = sortKeys(item)
      if (sorted === undefined) return undefined
      copy.push(sorted)
    }
    return copy
  }
  const copy: JsonObject = {}
  for (const key of Object.keys(value).sort()) {
    const first = key.charCodeAt(0)
    // Many keys are addresses.
    if (first >= 0x30 && first <= 0x39 && digits.test(key)) return undefined
    const sorted = sortKeys(value[key]!)
    if (sorted === undefined) return undefined
    setKey(copy, key, sorted)
  }
  return copy
}

const digits = /^\d+$/

/** The slow path, exact for every value that `inspect` let through. */
function write(value: Json): string {
  if (typeof value === 'number') return writeNumber(value)
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  if (isRawNumber(value)) return value.rawJSON
  if (Array.isArray(value)) return `[${value.map(write).join(',')}]`
  const members = Object.keys(value)
    .sort(byCodePoint)
    .map((key) => `${JSON.stringify(key)}:${write(value[key]!)}`)
  return `{${members.join(',')}}`
}

/** Only a float of our own looks different: Python, and so Synapse, writes 1e-05 for 0.00001. */
function writeNumber(value: number): string {
  if (Number.isInteger(value)) return BigInt(value).toString()
  if (Math.abs(value) >= 1e-4) return String(value)
  return value.toExponential().replace(/e-(\d)$/, 'e-0$1')
}

function byCodePoint(a: string, b: string): number {
  const length = Math.min(a.length, b.length)
  for (let index = 0; index < length; index++) {
    const left = a.charCodeAt(index)
    const right = b.charCodeAt(index)
    if (left !== right) return rank(left) - rank(right)
  }
  return a.length - b.length
}

/** Moves surrogates above all other UTF-16 units. */
const rank = (unit: number) => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800)

function hasLoneSurrogate(value: Json): boolean {
  if (typeof value === 'string') return !value.isWellFormed()
  if (typeof value !== 'object' || value === null) return false
  if (Array.isArray(value)) return value.some(hasLoneSurrogate)
  return Object.keys(value).some((key) => !key.isWellFormed() || hasLoneSurrogate(value[key]!))
}

/** What a number that must keep its digits looks like. Nothing here may take more than linear time. */
const oddNumber =
  /(?:^|[:,[\s])-?(?:\d+\.\d+(?:[eE][+-]?\d+)?|\d+[eE][+-]?\d+|\d{16,})\s*(?:[,}\]]|$)/

/** The same, where there are no strings. */
const oddDigits = /\d(?:[.eE]|\d{15})/

const plainInteger = /^-?(?:0|[1-9]\d{0,15})$/

/**
 * Parses JSON from the network, or undefined if it is none. Every number of the result is a safe
 * integer, or a `RawNumber` with the digits that came in.
 */
export function parseJson(text: string): Json | undefined {
  try {
    // Prices and addresses in strings may look like one: to see that costs less than to parse so.
    return oddNumber.test(text) && hasOddNumber(text)
      ? (JSON.parse(text, keepNumber as never) as Json)
      : (JSON.parse(text) as Json)
  } catch {
    // A SyntaxError, or a RangeError for nesting that no stack takes.
    return undefined
  }
}

/** Whether such a number stands outside of the strings of a JSON text. */
function hasOddNumber(text: string): boolean {
  for (let from = 0; from < text.length;) {
    const quote = text.indexOf('"', from)
    if (oddDigits.test(text.slice(from, quote < 0 ? text.length : quote))) return true
    if (quote < 0) return false
    from = endOfString(text, quote + 1)
  }
  return false
}

/** Behind the quote that ends a string whose content begins at `start`. */
function endOfString(text: string, start: number): number {
  for (let at = start; ; at++) {
    at = text.indexOf('"', at)
    if (at < 0) return text.length
    let slashes = 0
    while (at - slashes > start && text.charCodeAt(at - slashes - 1) === backslash) slashes++
    if (slashes % 2 === 0) return at + 1
  }
}

const backslash = 0x5c

function keepNumber(_key: string, value: unknown, { source }: { source: string }): unknown {
  if (typeof value !== 'number') return value
  // −0 is the one integer that is written differently.
  if (plainInteger.test(source) && Number.isSafeInteger(value)) return value + 0
  return rawNumber(source)
}
