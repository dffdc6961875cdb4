import type { Held } from '#api/http/body-bytes.ts'

/** One request as handlers see it: what the frame read of it, and what is read only when asked for. */
export class Incoming {
  /** Names the request in the log. */
  readonly id: string
  readonly method: string
  /** Path and query as they came, percent-encoding untouched: what another server signs. */
  readonly uri: string
  readonly headers: Headers
  /** The body as it came; set when the operation has a body, or is called by a server. */
  text: string | undefined
  /** What its body takes of the memory for large ones, until it is answered. */
  held: Held | undefined
  /** Ends it, where calls under way are counted. */
  leave: (() => void) | undefined
  /** The body as it comes, where an operation says that it `streams`; null if it is empty. */
  stream: ReadableStream<Uint8Array> | null = null
  /** The body's JSON value, with `text`. */
  json: unknown
  readonly #request: Request
  readonly #addressOf: (request: Request) => string
  #query: URLSearchParams | undefined

  constructor(id: string, request: Request, addressOf: (request: Request) => string) {
    const { url } = request
    this.id = id
    this.method = request.method
    this.uri = url.slice(url.indexOf('/', url.indexOf('//') + 2))
    this.headers = request.headers
    this.#request = request
    this.#addressOf = addressOf
  }

  get path(): string {
    const end = this.uri.search(/[?#]/)
    return end < 0 ? this.uri : this.uri.slice(0, end)
  }

  get query(): URLSearchParams {
    if (!this.#query) {
      const start = this.uri.indexOf('?')
      this.#query = new URLSearchParams(start < 0 ? '' : this.uri.slice(start))
    }
    return this.#query
  }

  /** Fires when the caller hangs up. */
  get signal(): AbortSignal {
    return this.#request.signal
  }

  /** The caller's address, as told by a proxy if that is trusted. */
  get address(): string {
    return this.#addressOf(this.#request)
  }
}
