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
  run(sql: Sql, values: Readonly<Partial<Record<Name, string | Uint8Array>>>): Promise<unknown> {
    const parameters = this.#names.map((name) => values[name]!)
    return sql.unsafe(this.#text, parameters, { prepare: true })
  }
}

/**
 * A parameter for an array of numbers, and of whatever else needs no quotes. As text, because the
 * driver would look at each element to find out what it is.
 */
export const arrayText = (values: readonly (number | string)[]): string => `{${values.join(',')}}`

/** The type of a JSON text; of `json` alone the driver would make JSON once more. */
export const json = 'text::json'
