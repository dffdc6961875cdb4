import { Stop } from '#importers/stop.ts'

/** An answer that is an error: what the server said, as it says it. */
export class Refused extends Error {
  override readonly name = 'Refused'
  readonly status: number
  readonly errcode: string
  readonly fields: { [name: string]: unknown }

  constructor(status: number, body: unknown) {
    const fields =
      typeof body === 'object' && body !== null ? (body as { [name: string]: unknown }) : {}
    super(typeof fields['error'] === 'string' ? fields['error'] : `The server answered ${status}`)
    this.status = status
    this.errcode = typeof fields['errcode'] === 'string' ? fields['errcode'] : 'M_UNKNOWN'
    this.fields = fields
  }
}

export type RequestOptions = {
  body?: unknown
  text?: { content: string; type: string }
  /** Bytes instead of JSON. */
  file?: { content: Bun.BunFile; type: string }
  query?: { [name: string]: string | number | undefined }
  /** For one answer, in milliseconds. */
  deadline?: number
  /** Not sent again if it is not known whether it arrived. */
  once?: boolean
}

const usualDeadline = 120_000
const mostPatience = 10 * 60_000
const longestPause = 30_000
/** No answer that is asked for here comes near this. */
const largestAnswer = 64 * 1024 * 1024

/**
 * A server, asked with a token. Waits while it is busy, restarts or cannot be reached, and sends again:
 * everything that is sent from here may arrive twice.
 */
export class Server {
  readonly url: string
  /** Told each time that it is asked again, with what it said or why it said nothing. */
  onWait: ((why: string) => void) | undefined
  readonly #token: string | undefined
  readonly #signal: AbortSignal
  readonly #patience: number

  constructor(
    url: string,
    token: string | undefined,
    signal: AbortSignal = new AbortController().signal,
    patience = mostPatience,
  ) {
    this.url = url.replace(/\/+$/, '')
    this.#token = token
    this.#signal = signal
    this.#patience = patience
  }

  async get(path: string, query?: RequestOptions['query']): Promise<unknown> {
    return this.request('GET', path, query ? { query } : {})
  }

  async post(path: string, body: unknown = {}): Promise<unknown> {
    return this.request('POST', path, { body })
  }

  async put(path: string, body: unknown): Promise<unknown> {
    return this.request('PUT', path, { body })
  }

  async request(method: string, path: string, options: RequestOptions = {}): Promise<unknown> {
    const began = Date.now()
    for (let attempt = 0; ; attempt++) {
      let pause: number
      let why: string
      try {
        const { status, body } = await this.#once(method, path, options)
        if (status < 300) return body
        const refused = new Refused(status, body)
        if (options.once) throw refused
        if (status !== 429 && status !== 502 && status !== 503 && status !== 504) throw refused
        const asked = refused.fields['retry_after_ms']
        pause = typeof asked === 'number' ? asked : waitOf(attempt)
        why = refused.message
      } catch (error) {
        if (error instanceof Refused || this.#signal.aborted || options.once) throw error
        pause = waitOf(attempt)
        why = String(error)
      }
      if (Date.now() - began > this.#patience) {
        throw new Stop(
          `${this.url} does not answer (${why}). What was done is safe; the same command goes on`,
        )
      }
      this.onWait?.(why)
      await this.#sleep(pause)
    }
  }

  async #once(
    method: string,
    path: string,
    { body, text: lines, file, query, deadline = usualDeadline }: RequestOptions,
  ): Promise<{ status: number; body: unknown }> {
    const url = new URL(this.url + path)
    for (const [name, value] of Object.entries(query ?? {}))
      if (value !== undefined) url.searchParams.set(name, String(value))
    const raw = file ?? lines
    const content = raw ? raw.content : body === undefined ? undefined : JSON.stringify(body)
    const response = await fetch(url, {
      method,
      headers: {
        ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
        ...(content !== undefined && { 'content-type': raw?.type ?? 'application/json' }),
      },
      ...(content !== undefined && { body: content }),
      redirect: 'manual',
      signal: AbortSignal.any([this.#signal, AbortSignal.timeout(deadline)]),
    })
    const length = Number(response.headers.get('content-length') ?? 0)
    if (length > largestAnswer) throw new Error(`An answer of ${length} bytes`)
    const text = await response.text()
    return { status: response.status, body: parse(text) }
  }

  async #sleep(ms: number): Promise<void> {
    const stop = Promise.withResolvers<never>()
    const onAbort = () => stop.reject(new Stop('Stopped'))
    if (this.#signal.aborted) onAbort()
    this.#signal.addEventListener('abort', onAbort, { once: true })
    try {
      await Promise.race([Bun.sleep(Math.min(ms, longestPause)), stop.promise])
    } finally {
      this.#signal.removeEventListener('abort', onAbort)
    }
  }
}

/** Half a second, doubling, up to half a minute. */
const waitOf = (attempt: number) => Math.min(500 * 2 ** attempt, longestPause)

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return { error: text.slice(0, 200) }
  }
}
