import type { Place, ReadContext } from '#importers/format.ts'

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

/** Bytes as UTF-8 without its mark, whether they were UTF-8 or, by their mark, UTF-16. */
export async function* asUtf8(bytes: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let wide: TextDecoder | undefined
  let first: Uint8Array | undefined = new Uint8Array(0)
  const encoder = new TextEncoder()
  for await (const chunk of bytes) {
    let rest = chunk
    if (first) {
      rest = first.length ? Buffer.concat([first, chunk]) : chunk
      if (rest.length < 3) {
        first = rest
        continue
      }
      first = undefined
      if (rest[0] === 0xff && rest[1] === 0xfe) wide = new TextDecoder('utf-16le')
      else if (rest[0] === 0xfe && rest[1] === 0xff) wide = new TextDecoder('utf-16be')
      else if (rest[0] === 0xef && rest[1] === 0xbb && rest[2] === 0xbf) rest = rest.subarray(3)
    }
    yield wide ? encoder.encode(wide.decode(rest, { stream: true })) : rest
  }
  if (first?.length) yield first
  if (wide) yield encoder.encode(wide.decode())
}
