import type { Place, ReadContext } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { type Fields, isFields } from './fields.ts'
import { readLines } from './lines.ts'

/** The objects of an entry with one in a line; lines that are none are reported, and empty ones passed over. */
export async function* readNdjson(
  source: Source,
  entry: string,
  context: ReadContext,
): AsyncGenerator<{ value: Fields; place: Place }> {
  for await (const { text, place } of readLines(source, entry, context)) {
    if (text.trim() === '') continue
    const value = parseLine(text)
    if (isFields(value)) yield { value, place }
    else {
      context.problem({
        class: 'malformed',
        reason: value === undefined ? 'The line is not JSON' : 'The line is not a JSON object',
        place,
        done: 'skipped',
      })
    }
  }
}

function parseLine(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
