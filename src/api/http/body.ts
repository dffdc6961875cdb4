import { type Held, smallBytes } from '#api/http/body-bytes.ts'
import { badJson, notJson, tooLarge } from '#core/error.ts'

/**
 * Values deeper than this are refused: what walks them later may do so by recursion. It is as much as
 * an event may nest, and what other servers can write: one deep event must not refuse the transaction
 * that brings it, which would be sent again for ever.
 */
export const maxDepth = 1000

/**
 * Reads a body as text of at most `maxBytes`. It must be UTF-8, since it is hashed, signed and
 * stored as such. What is large is counted as it comes.
 */
export async function readText(request: Request, maxBytes: number, held: Held): Promise<string> {
  if (request.body === null) return ''
  const told = request.headers.get('content-length')
  const length = told === null ? Infinity : Number(told)
  const bytes =
    length <= smallBytes
      ? new Uint8Array(await request.arrayBuffer())
      : told === null || length <= maxBytes
        ? await readBounded(request.body, maxBytes, held)
        : undefined
  if (!bytes || bytes.length > maxBytes)
    throw tooLarge(`The request body is larger than ${maxBytes} bytes`)
  requireShallow(bytes)
  try {
    return decoder.decode(bytes)
  } catch {
    throw notJson()
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** A body is let go of when it is too long. */
async function readBounded(
  body: ReadableStream<Uint8Array>,
  maxBytes: number,
  held: Held,
): Promise<Uint8Array | undefined> {
  const chunks: Uint8Array[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    // Leaving the loop cancels the stream.
    if (size > maxBytes) return undefined
    held.take(chunk.length)
    chunks.push(chunk)
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)
}

/** Clients leave out the content type, and the body of an empty POST; both are read as JSON. */
export function parseJson(text: string): unknown {
  if (text === '') return {}
  try {
    return JSON.parse(text)
  } catch {
    throw notJson()
  }
}

const quote = 0x22
const backslash = 0x5c

/** Counts brackets outside of strings; that the text is JSON is for the parser to say. */
function requireShallow(bytes: Uint8Array): void {
  let depth = 0
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i]
    if (byte === quote) {
      while (++i < bytes.length && bytes[i] !== quote) if (bytes[i] === backslash) i++
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > maxDepth) throw badJson(`The request body is nested deeper than ${maxDepth}`)
    } else if (byte === 0x7d || byte === 0x5d) depth--
  }
}
