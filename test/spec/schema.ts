import { posix } from 'node:path'
import { join } from 'node:path'

type Schema = Record<string, unknown>

/** Reads schemas of the official files with every `$ref` replaced by what it points to. */
export class SchemaLoader {
  readonly #folder: string
  readonly #documents = new Map<string, Promise<unknown>>()

  /** The folder that holds `api` and `schemas`. */
  constructor(folder: string) {
    this.#folder = folder
  }

  /** A schema that stands in `document`, a path below the folder. */
  async resolve(
    schema: unknown,
    document: string,
    within: readonly string[] = [],
  ): Promise<unknown> {
    if (Array.isArray(schema))
      return Promise.all(schema.map((each) => this.resolve(each, document, within)))
    if (typeof schema !== 'object' || schema === null) return schema
    const { $ref, example: _, examples: __, ...rest } = schema as Schema
    const resolved: Schema = {}
    for (const [key, value] of Object.entries(rest)) {
      // The spec's alternatives overlap: a whole event, say, is any object too.
      const name = key === 'oneOf' ? 'anyOf' : key
      resolved[name] =
        key === 'properties' || key === 'patternProperties'
          ? await this.#resolveEach(value as Schema, document, within)
          : await this.resolve(value, document, within)
    }
    if (typeof $ref !== 'string') return resolved
    const target = await this.#follow($ref, document, within)
    return Object.keys(resolved).length === 0 ? target : { allOf: [target, resolved] }
  }

  async #resolveEach(properties: Schema, document: string, within: readonly string[]) {
    const names = Object.keys(properties)
    const values = await Promise.all(
      names.map((name) => this.resolve(properties[name], document, within)),
    )
    return Object.fromEntries(names.map((name, index) => [name, values[index]]))
  }

  async #follow($ref: string, document: string, within: readonly string[]): Promise<unknown> {
    const [file = '', pointer = ''] = $ref.split('#')
    const target = file === '' ? document : posix.join(posix.dirname(document), file)
    const place = `${target}#${pointer}`
    // A schema that holds itself is checked down to where it begins again.
    if (within.includes(place)) return {}
    let value = await this.#load(target)
    for (const step of pointer.split('/').slice(1)) {
      const key = step.replaceAll('~1', '/').replaceAll('~0', '~')
      value = (value as Schema | undefined)?.[key]
    }
    if (value === undefined) throw new Error(`${document} points to ${$ref}, and nothing is there`)
    return this.resolve(value, target, [...within, place])
  }

  #load(document: string): Promise<unknown> {
    let loaded = this.#documents.get(document)
    if (!loaded) {
      loaded = Bun.file(join(this.#folder, document))
        .text()
        .then((text) => Bun.YAML.parse(text))
      this.#documents.set(document, loaded)
    }
    return loaded
  }
}
