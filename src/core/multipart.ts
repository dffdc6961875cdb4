/**
 * Reading `multipart/*` bodies as they come, piece by piece.
 *
 * Spec: RFC 2046, section 5.1
 */

/** What a reader is told, in the order of the body. */
export type PartHandler = {
  /** A part begins; names of headers are in lower case. */
  begin(headers: ReadonlyMap<string, string>): void
  /** Some of its bytes: a view, good until the next push. */
  data(bytes: Uint8Array): void
  end(): void
}

/** The body is not what its type says. */
export class MultipartFault extends Error {
  override readonly name = 'MultipartFault'
}

const maxHeaderBytes = 16 * 1024
const crlf = Buffer.from('\r\n')
const endOfHeaders = Buffer.from('\r\n\r\n')

/** The boundary that a content type names; undefined if it is not that of a multipart body. */
export function boundaryOf(contentType: string): string | undefined {
  const [type, ...parameters] = contentType.slice(0, 1000).split(';')
  if (!/^multipart\/[a-z]+$/i.test(type!.trim())) return undefined
  for (const parameter of parameters) {
    const match = /^boundary=(?:"([^"]{1,70})"|([^\s"]{1,70}))$/i.exec(parameter.trim())
    if (match) return match[1] ?? match[2]
  }
  return undefined
}

type Where = 'preamble' | 'after-boundary' | 'headers' | 'body' | 'epilogue'

/** Finds the parts of one body. It holds no more of it than one boundary, or the headers of a part. */
export class MultipartReader {
  readonly #delimiter: Buffer
  readonly #handler: PartHandler
  // The first boundary may stand at the very beginning, without a line before it.
  #held: Buffer = crlf
  #where: Where = 'preamble'

  constructor(boundary: string, handler: PartHandler) {
    this.#delimiter = Buffer.from(`\r\n--${boundary}`)
    this.#handler = handler
  }

  /** Whether the last boundary has come; what follows means nothing. */
  get isComplete(): boolean {
    return this.#where === 'epilogue'
  }

  push(bytes: Uint8Array): void {
    this.#held =
      this.#held.length === 0
        ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length)
        : Buffer.concat([this.#held, bytes])
    while (this.#step());
  }

  /** The body is over. */
  end(): void {
    if (!this.isComplete) throw new MultipartFault('The body ends before its last boundary')
  }

  /** One step further; false if more bytes are needed. */
  #step(): boolean {
    switch (this.#where) {
      case 'preamble':
      case 'body':
        return this.#findBoundary()
      case 'after-boundary':
        return this.#readBoundaryLine()
      case 'headers':
        return this.#readHeaders()
      case 'epilogue':
        this.#held = Buffer.alloc(0)
        return false
    }
  }

  #findBoundary(): boolean {
    const at = this.#held.indexOf(this.#delimiter)
    // The end of what is here may be the beginning of a boundary.
    const upTo = at >= 0 ? at : this.#held.length - this.#delimiter.length + 1
    if (upTo > 0) {
      if (this.#where === 'body') this.#handler.data(this.#held.subarray(0, upTo))
      this.#held = this.#held.subarray(upTo)
    }
    if (at < 0) return false
    this.#held = this.#held.subarray(this.#delimiter.length)
    if (this.#where === 'body') this.#handler.end()
    this.#where = 'after-boundary'
    return true
  }

  #readBoundaryLine(): boolean {
    if (this.#held.length < 2) return false
    if (this.#held.toString('latin1', 0, 2) === '--') {
      this.#where = 'epilogue'
      return true
    }
    const end = this.#held.indexOf(crlf)
    if (end < 0) {
      if (this.#held.length > maxHeaderBytes) throw new MultipartFault('A boundary has no end')
      return false
    }
    if (this.#held.toString('latin1', 0, end).trim() !== '')
      throw new MultipartFault('A boundary is followed by something else')
    // The line's end stays: a part without headers has an empty line next.
    this.#held = this.#held.subarray(end)
    this.#where = 'headers'
    return true
  }

  #readHeaders(): boolean {
    const end = this.#held.indexOf(endOfHeaders)
    if ((end < 0 ? this.#held.length : end) > maxHeaderBytes)
      throw new MultipartFault('The headers of a part are too long')
    if (end < 0) return false
    const headers = new Map<string, string>()
    for (const line of this.#held.toString('utf8', 0, end).split('\r\n')) {
      if (line === '') continue
      const colon = line.indexOf(':')
      if (colon < 1) throw new MultipartFault('A header of a part is malformed')
      headers.set(line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim())
    }
    this.#held = this.#held.subarray(end + endOfHeaders.length)
    this.#where = 'body'
    this.#handler.begin(headers)
    return true
  }
}
