import type { Place, ReadContext } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { bytesOf, decode } from './decode.ts'
import { JsonBytes } from './json-bytes.ts'

export type Member = {
  /** The member of the top object; empty for elements of a top array. */
  key: string
  value: unknown
  place: Place
}

const comma = 0x2c
const colon = 0x3a
const quote = 0x22
const openList = 0x5b
const closeList = 0x5d
const openObject = 0x7b
const closeObject = 0x7d

/** A value that is not JSON: what it was is reported already. */
const broken = Symbol('broken')

/**
 * A file of JSON, of any size, in pieces: the elements of an array at the top, or the members of an object
 * there, of which the arrays named in `each` (or all) come element by element. An element that is not JSON is
 * reported and passed; so is the rest of a file that ends too early.
 */
export async function* readJson(
  source: Source,
  entry: string,
  each: readonly string[] | 'all',
  context: ReadContext,
): AsyncGenerator<Member> {
  const reader = new JsonReader(source, entry, context)
  try {
    yield* membersOf(reader, each)
  } finally {
    // Its end may never be read: what lies behind the last bracket, or more than anybody asked for.
    await reader.bytes.close()
  }
}

async function* membersOf(
  reader: JsonReader,
  each: readonly string[] | 'all',
): AsyncGenerator<Member> {
  const first = await reader.bytes.peek()
  if (first === openList) {
    yield* reader.elements('')
    if (!reader.recovered && (await reader.bytes.peek()) !== -1)
      reader.complain('What follows the end of the array is not read')
    return
  }
  if (first === -1) {
    reader.complain('The file is empty')
    return
  }
  if (first !== openObject) {
    reader.complain('The file is neither a JSON object nor an array')
    return
  }
  reader.bytes.skip()
  for (;;) {
    let next = await reader.bytes.peek()
    if (next === comma) {
      reader.bytes.skip()
      next = await reader.bytes.peek()
    }
    if (next === closeObject || (next === -1 && reader.recovered)) return
    if (next !== quote) {
      reader.complain(next === -1 ? cutOff : 'A name was expected here: the rest of it is not read')
      return
    }
    const key = await reader.value()
    if (typeof key !== 'string') return
    if ((await reader.bytes.peek()) !== colon) {
      reader.complain('A colon was expected here: the rest of it is not read')
      return
    }
    reader.bytes.skip()
    const begins = await reader.bytes.peek()
    if (begins === openList && (each === 'all' || each.includes(key))) {
      yield* reader.elements(key)
      continue
    }
    const place = reader.place()
    const value = await reader.value()
    if (value === undefined) return
    if (value !== broken) yield { key, value, place }
  }
}

const wholeLimit = 64 * 1024 * 1024

/** A small file of JSON whole; undefined, and a problem, if it is none. */
export async function readWhole(
  source: Source,
  entry: string,
  context: ReadContext,
): Promise<unknown> {
  const pieces: Uint8Array[] = []
  let size = 0
  const place = { file: entry }
  for await (const chunk of bytesOf(source, entry, context)) {
    size += chunk.length
    if (size > wholeLimit) {
      context.problem({
        class: 'too_large',
        reason: `The file is larger than ${wholeLimit / 1048576} MiB`,
        place,
        done: 'skipped',
      })
      return undefined
    }
    pieces.push(chunk.slice())
  }
  try {
    return JSON.parse(decode(Buffer.concat(pieces), place, context)) as unknown
  } catch {
    context.problem({
      class: 'malformed',
      reason: 'The file is not JSON, or cut off',
      place,
      done: 'skipped',
    })
    return undefined
  }
}

const cutOff = 'The file ends too early: the download may have been interrupted'

class JsonReader {
  readonly bytes: JsonBytes
  readonly #entry: string
  readonly #context: ReadContext
  /** Whether a broken element was passed: where its array ends cannot be told any more. */
  recovered = false

  constructor(source: Source, entry: string, context: ReadContext) {
    this.bytes = new JsonBytes(bytesOf(source, entry, context))
    this.#entry = entry
    this.#context = context
  }

  place(): Place {
    return { file: this.#entry, line: this.bytes.line, offset: this.bytes.offset }
  }

  complain(reason: string, place = this.place()): void {
    this.#context.problem({ class: 'malformed', reason, place, done: 'skipped' })
  }

  /** The value that begins here. Undefined where the file ends within it. */
  async value(): Promise<unknown> {
    const place = this.place()
    const slice = await this.bytes.value()
    if (!slice) {
      this.complain(cutOff, place)
      return undefined
    }
    return this.#parse(slice, place)
  }

  #parse(slice: Uint8Array, place: Place): unknown {
    try {
      return JSON.parse(decode(slice, place, this.#context)) as unknown
    } catch {
      this.complain('A record that is not JSON', place)
      return broken
    }
  }

  /**
   * The elements of the array that begins here. After a broken one the next is looked for by how its
   * elements begin, as a missing quote or bracket makes everything behind it part of the broken one.
   */
  async *elements(key: string): AsyncGenerator<Member> {
    this.bytes.skip()
    let beginning: Uint8Array | undefined
    for (;;) {
      const next = await this.bytes.peek()
      if (next === comma) {
        this.bytes.skip()
        continue
      }
      if (this.recovered && next !== openObject) {
        if (await this.bytes.seek(beginning)) continue
        return
      }
      if (next === closeList) {
        this.bytes.skip()
        return
      }
      const place = this.place()
      if (next === -1) return this.complain(cutOff, place)
      this.bytes.mark()
      const slice = await this.bytes.value()
      const value = slice ? this.#parse(slice, place) : undefined
      if (value !== undefined && value !== broken) {
        if (slice) beginning ??= beginningOf(slice)
        yield { key, value, place }
        continue
      }
      // Wrong within, with an end that fits its beginning: what follows is whole.
      const fits = slice?.[0] === openObject && slice.at(-1) === closeObject
      if (fits && [comma, closeList].includes(await this.bytes.peek())) continue
      if (!slice) this.complain('A record that does not end: the file may be cut off', place)
      this.recovered = true
      this.bytes.backToMark()
      beginning ??= beginningOf(this.bytes.fromMark(longestBeginning))
      if (!(await this.bytes.seek(beginning))) return
    }
  }
}

const longestBeginning = 200

/** An object up to its first colon: what the elements of an array of records have in common. */
function beginningOf(slice: Uint8Array): Uint8Array | undefined {
  const end = slice.indexOf(colon)
  return slice[0] === openObject && end > 0 && end < longestBeginning
    ? slice.slice(0, end + 1)
    : undefined
}
