import type { Format } from '#importers/format.ts'
import { id, text } from '#importers/read/fields.ts'
import { readNdjson } from '#importers/read/ndjson.ts'
import type { Source } from '#importers/source.ts'
import { isKind, itemOf } from './schema.ts'

/** Our own NDJSON: an item of the interface in every line. */
export const ndjson: Format = {
  name: 'ndjson',
  title: "Laneway's own NDJSON",
  async recognize(source) {
    for (const name of filesOf(source)) {
      const [line] = new TextDecoder().decode(await source.head(name)).split('\n')
      const kind = /^\uFEFF?\s*\{\s*"kind"\s*:\s*"(\w+)"/.exec(line ?? '')?.[1]
      if (kind !== undefined && isKind(kind))
        return { sure: 0.9, why: `${name} begins with a record of kind "${kind}"` }
    }
    return undefined
  },
  async *read(source, context) {
    for (const name of filesOf(source)) {
      for await (const { value, place } of readNdjson(source, name, context)) {
        const kind = text(value, 'kind') ?? ''
        const item = isKind(kind)
          ? itemOf(kind, value)
          : { wrong: `there is no kind of record "${kind}"` }
        if (!('wrong' in item)) yield 'room' in item ? { ...item, place } : item
        else {
          context.problem({
            class: isKind(kind) ? 'malformed' : 'unsupported_type',
            reason: item.wrong,
            place,
            ...named(value),
            done: 'skipped',
          })
        }
      }
    }
  },
}

const filesOf = (source: Source) =>
  source.entries.map(({ name }) => name).filter((name) => /\.(ndjson|jsonl)$/i.test(name))

function named(value: unknown): { room?: string; id?: string } {
  const room = id(value, 'room')
  const own = id(value, 'id')
  return { ...(room !== undefined && { room }), ...(own !== undefined && { id: own }) }
}
