import type { Place, ReadContext } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { bytesOf, decode } from './decode.ts'

export type Line = { text: string; place: Place }

const longest = 64 * 1024 * 1024
const newline = 0x0a
const carriageReturn = 0x0d

/** The lines of an entry without their ends, one at a time; a line beyond all measure is reported and left out. */
export async function* readLines(
  source: Source,
  entry: string,
  context: ReadContext,
): AsyncGenerator<Line> {
  let line = 0
  let offset = 0
  /** The start of a line whose end is still to come; nothing when it is longer than any line may be. */
  let held: Uint8Array[] | undefined = []
  let size = 0
  const take = (last: Uint8Array): Line | undefined => {
    line++
    const place: Place = { file: entry, line, offset }
    const pieces = held
    offset += size + last.length + 1
    held = []
    size = 0
    if (!pieces) {
      context.problem({
        class: 'too_large',
        reason: `A line is longer than ${longest / 1048576} MiB`,
        place,
        done: 'skipped',
      })
      return undefined
    }
    const bytes = pieces.length ? Buffer.concat([...pieces, last]) : last
    const end = bytes.at(-1) === carriageReturn ? bytes.length - 1 : bytes.length
    return { text: decode(bytes.subarray(0, end), place, context), place }
  }
  for await (const chunk of bytesOf(source, entry, context)) {
    let start = 0
    for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, start)) {
      const found = take(chunk.subarray(start, at))
      start = at + 1
      if (found) yield found
    }
    if (start === chunk.length) continue
    size += chunk.length - start
    if (size > longest) held = undefined
    // A copy: who reads the file may use its buffer again.
    else held?.push(chunk.slice(start))
  }
  if (size > 0) {
    const found = take(new Uint8Array(0))
    if (found) yield found
  }
}
