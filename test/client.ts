import type { AnyOp } from '#api/http/op.ts'
import { type App, type MountOptions, mount } from '#api/http/mount.ts'
import { ops } from '#api/index.ts'
import type { Context } from '#src/context.ts'
import { answersChecked, checkAnswer } from '#test/spec/responses.ts'

export type Answer = {
  status: number
  headers: Headers
  /** The JSON value; tests say what they expect of it. */
  body: any
}

export type AskOptions = {
  /** What is sent as JSON. */
  body?: unknown
  /** What is sent as it is. */
  text?: string
  headers?: Record<string, string>
  signal?: AbortSignal
}

type AppOptions = Omit<MountOptions, 'onAnswer'> & { ops?: readonly AnyOp[] }

/**
 * Asks an app without a socket, as one user or as nobody. Each answer of an operation is held to the
 * spec: an answer that departs from it fails the test that asked.
 */
export class Client {
  readonly #app: App
  readonly #token: string | undefined

  private constructor(app: App, token: string | undefined) {
    this.#app = app
    this.#token = token
  }

  /** A client of all operations over `ctx`, or of those in `options.ops`. */
  static of(ctx: Context, { ops: some = ops, ...options }: AppOptions = {}): Client {
    return new Client(mount(ctx, some, { ...options, onAnswer: checkAnswer }), undefined)
  }

  /** The same app, asked with another access token. */
  as(token: string | undefined): Client {
    return new Client(this.#app, token)
  }

  get(path: string, options?: AskOptions): Promise<Answer> {
    return this.ask('GET', path, options)
  }

  put(path: string, body: unknown, options?: AskOptions): Promise<Answer> {
    return this.ask('PUT', path, { body, ...options })
  }

  post(path: string, body: unknown = {}, options?: AskOptions): Promise<Answer> {
    return this.ask('POST', path, { body, ...options })
  }

  delete(path: string, body?: unknown, options?: AskOptions): Promise<Answer> {
    return this.ask('DELETE', path, { ...(body !== undefined && { body }), ...options })
  }

  /** Asks for what is no JSON. */
  async page(method: string, path: string): Promise<Response> {
    return this.#app.fetch(new Request(`http://localhost${path}`, { method }))
  }

  /** `path` may leave out `/_matrix/client/v3`. */
  async ask(method: string, path: string, options: AskOptions = {}): Promise<Answer> {
    const { body, signal } = options
    const text = options.text ?? (body === undefined ? undefined : JSON.stringify(body))
    const full = /^\/(_|\.well-known)/.test(path) ? path : `/_matrix/client/v3${path}`
    const response = await this.#app.fetch(
      new Request(`http://localhost${full}`, {
        method,
        headers: {
          ...(this.#token !== undefined && { authorization: `Bearer ${this.#token}` }),
          ...options.headers,
        },
        ...(text !== undefined && { body: text }),
        ...(signal && { signal }),
      }),
    )
    const answer = await response.text()
    await answersChecked()
    return {
      status: response.status,
      headers: response.headers,
      body: answer === '' ? undefined : JSON.parse(answer),
    }
  }
}
