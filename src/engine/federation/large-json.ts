import { parseJson } from '#core/canonical-json.ts'
import { type Json, type JsonObject, setKey } from '#core/json.ts'

/** How long others on the thread may wait for their turn. */
const sliceMs = 4

/**
 * Parses the text of an object that holds long lists, such as the state of a room, with pauses in
 * between: a hundred megabytes at once would hold up the thread for a fifth of a second. Undefined if
 * it is no JSON object; the result is that of `parseJson`.
 */
export async function parseLarge(text: string): Promise<JsonObject | undefined> {
  const reader = new Reader(text)
  const object: JsonObject = {}
  let since = performance.now()
  if (!reader.take('{')) return undefined
  if (!reader.take('}'))
    do {
      const key = reader.value()
      if (typeof key !== 'string' || !reader.take(':')) return undefined
      if (!reader.take('[')) {
        const value = reader.value()
        if (value === undefined) return undefined
        setKey(object, key, value)
        continue
      }
      const list: Json[] = []
      setKey(object, key, list)
      if (reader.take(']')) continue
      do {
        const item = reader.value()
        if (item === undefined) return undefined
        list.push(item)
        if (performance.now() - since < sliceMs) continue
        await new Promise<void>((resolve) => setImmediate(resolve))
        since = performance.now()
      } while (reader.take(','))
      if (!reader.take(']')) return undefined
    } while (reader.take(','))
  else return reader.atEnd ? object : undefined
  return reader.take('}') && reader.atEnd ? object : undefined
}

const blank = /[ \t\n\r]/

/** Goes through a JSON text value by value. That each is well formed, its own parser says. */
class Reader {
  readonly #text: string
  #at = 0

  constructor(text: string) {
    this.#text = text
  }

  get atEnd(): boolean {
    this.#skipBlanks()
    return this.#at === this.#text.length
  }

  /** Whether this character comes next; it is behind us then. */
  take(character: string): boolean {
    this.#skipBlanks()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  /** The value that comes next; undefined if there is none. */
  value(): Json | undefined {
    this.#skipBlanks()
    const start = this.#at
    const end = this.#endOfValue()
    if (end === undefined) return undefined
    this.#at = end
    return parseJson(this.#text.slice(start, end))
  }

  #skipBlanks(): void {
    while (this.#at < this.#text.length && blank.test(this.#text[this.#at]!)) this.#at++
  }

  /** Counts brackets outside of strings; undefined if the text ends first. */
  #endOfValue(): number | undefined {
    const text = this.#text
    let depth = 0
    for (let at = this.#at; at < text.length; at++) {
      const character = text[at]
      if (character === '"') {
        const end = this.#endOfString(at)
        if (end === undefined) return undefined
        if (depth === 0) return end
        at = end - 1
      } else if (character === '{' || character === '[') depth++
      else if (character === '}' || character === ']') {
        // A number or word ends before a bracket that is not its own.
        if (depth === 0) return at
        depth--
        if (depth === 0) return at + 1
      } else if (depth === 0 && (character === ',' || blank.test(character!))) return at
    }
    return depth === 0 ? text.length : undefined
  }

  #endOfString(start: number): number | undefined {
    const text = this.#text
    for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
      let slashes = 0
      while (text[end - 1 - slashes] === '\\') slashes++
      if (slashes % 2 === 0) return end + 1
    }
    return undefined
  }
}
