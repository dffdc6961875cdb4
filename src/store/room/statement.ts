import type { Sql } from '#store/db.ts'

/**
 * A statement whose parameters have names and types: `$ids` in its text, `ids: 'bigint[]'` beside it.
 * For texts that are put together of parts, each with parameters of its own.
 */
export class Statement<Name extends string> {
  readonly #text: string
  readonly #names: Name[] = []

  constructor(text: string, types: Readonly<Record<Name, string>>) {
    const places = new Map<string, number>()
    this.#text = text.replaceAll(/\$([a-zA-Z]+)/g, (_, name: Name) => {
      if (!places.has(name)) places.set(name, this.#names.push(name))
      return `$${places.get(name)}::${types[name]}`
    })
  }

  /** Prepared once on each connection. Sent when it is waited for, as every query of the driver. */
  run<Row extends object>(
    sql: Sql,
    values: Readonly<Partial<Record<Name, Parameter>>>,
  ): Promise<readonly Row[]> {
    const parameters = this.#names.map((name) => values[name]! as string)
    return sql.unsafe<Row[]>(this.#text, parameters, { prepare: true })
  }
}

export type Parameter = string | number | Uint8Array | readonly string[]

/**
 * A parameter for an array of numbers, and of whatever else needs no quotes. As text, because the
 * driver would look at each element to find out what it is.
 */
export const arrayText = (values: readonly (number | string)[]): string => `{${values.join(',')}}`

/**
 * JSON texts as one parameter, to be taken apart by `string_to_table($texts, E'\\x1e')`: that costs less
 * on both sides than the quotes of an array. No JSON holds this character; what is none is refused.
 */
export function jsonTexts(texts: readonly string[]): string {
  const all = texts.join(separator)
  if (!all.isWellFormed() || texts.some((text) => text.includes(separator)))
    throw new Error('The text of an event is not JSON')
  return all
}

const separator = '\x1e'

/** The type of a JSON text; of `json` alone the driver would make JSON once more. */
export const json = 'text::json'
