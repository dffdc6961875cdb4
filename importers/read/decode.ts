import type { Place, ReadContext } from '#importers/format.ts'
import type { Source } from '#importers/source.ts'
import { Stop } from '#importers/stop.ts'

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const western = new TextDecoder('windows-1252')

/**
 * Bytes as text. What is not UTF-8 is taken for windows-1252, which every byte is something in, and
 * reported: a wrong letter is better than a lost message.
 */
export function decode(bytes: Uint8Array, place: Place, context: ReadContext): string {
  try {
    return strict.decode(bytes)
  } catch {
    context.problem({
      class: 'encoding',
      reason: 'Bytes that are not UTF-8 were read as windows-1252',
      place,
      done: 'degraded',
    })
    return western.decode(bytes)
  }
}

/**
 * The bytes of an entry as UTF-8 without its mark, whether they were UTF-8 or, by their mark, UTF-16.
 * Where an entry cannot be read further (an archive that is damaged), that is reported, and it ends.
 */
export async function* bytesOf(
  source: Source,
  entry: string,
  context: ReadContext,
): AsyncGenerator<Uint8Array> {
  let read = 0
  const raw = source.open(entry)[Symbol.asyncIterator]()
  const next = async () => {
    try {
      const { done, value } = await raw.next()
      if (done) return undefined
      read += value.length
      return value
    } catch (error) {
      if (error instanceof Stop) throw error
      context.problem({
        class: 'malformed',
        reason: `It cannot be read further (${String(error)})`,
        place: { file: entry, offset: read },
        done: 'skipped',
      })
      return undefined
    }
  }
  let first = await next()
  for (let more; first && first.length < 3 && (more = await next());)
    first = Buffer.concat([first, more])
  const wide = wideOf(first)
  const encoder = new TextEncoder()
  const marked = first && first[0] === 0xef && first[1] === 0xbb && first[2] === 0xbf
  try {
    for (let chunk = marked ? first!.subarray(3) : first; chunk !== undefined; chunk = await next())
      yield wide ? encoder.encode(wide.decode(chunk, { stream: true })) : chunk
    if (wide) yield encoder.encode(wide.decode())
  } finally {
    await raw.return?.()
  }
}

function wideOf(first: Uint8Array | undefined): TextDecoder | undefined {
  if (first?.[0] === 0xff && first[1] === 0xfe) return new TextDecoder('utf-16le')
  if (first?.[0] === 0xfe && first[1] === 0xff) return new TextDecoder('utf-16be')
  return undefined
}
