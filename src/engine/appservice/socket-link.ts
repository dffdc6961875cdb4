import { parseJson } from '#core/canonical-json.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import {
  type Fault,
  type Link,
  type LinkAnswer,
  LinkError,
  type Question,
  refusal,
} from '#engine/appservice/link.ts'

/** One connection of an application service. */
export type Socket = {
  send(text: string): void
  close(code: number, reason: string): void
}

export type SocketLinkOptions = {
  hsToken: string
  clock: () => number
  /** How long one transaction may take. */
  deadlineMs: number
  /** It has connected. */
  onConnect: () => void
}

type Waiter = {
  resolve: (answer: { ok: boolean; data: Json | undefined }) => void
  reject: (error: LinkError) => void
  timer: ReturnType<typeof setTimeout>
}

/** What mautrix-go reads as the reason of a close. */
const closes = {
  replaced: [4001, 'conn_replaced'],
  unacknowledged: [4002, 'transactions_not_acknowledged'],
  stopping: [1012, 'server_shutting_down'],
} as const
/** Requests to one application service that are not answered yet. */
const maxWaiting = 100

/**
 * The way to an application service that connects to us, as bridges behind NAT do. One connection at a time:
 * a new one takes the place of the one before. Messages are JSON; what has an `id` is answered with
 * `response` or `error`.
 *
 * Not spec: fi.mau.as_sync, as mautrix-go has it.
 */
export class SocketLink implements Link {
  readonly #options: SocketLinkOptions
  readonly #waiting = new Map<number, Waiter>()
  #socket: Socket | undefined
  #stopped = false
  #count = 0

  constructor(options: SocketLinkOptions) {
    this.#options = options
  }

  get isUp(): boolean {
    return this.#socket !== undefined
  }

  connected(socket: Socket): void {
    this.#end('replaced')
    this.#socket = socket
    if (this.#stopped) return this.stop()
    socket.send(JSON.stringify({ command: 'connect', status: 'connected' }))
    this.#options.onConnect()
  }

  closed(socket: Socket): void {
    if (socket !== this.#socket) return
    this.#socket = undefined
    this.#fail('The connection was closed')
  }

  received(socket: Socket, text: string): void {
    const message = parseJson(text)
    if (socket !== this.#socket || !isObject(message)) return
    const { id, command, data } = message
    if (command === 'response' || command === 'error') {
      const waiter = typeof id === 'number' ? this.#waiting.get(id) : undefined
      waiter?.resolve({ ok: command === 'response', data })
      return
    }
    if (typeof id !== 'number' || id === 0) return
    // Of what bridges tell, such as how they fare, there is nobody here to tell it to.
    const answer =
      command === 'ping'
        ? { id, command: 'response', data: { timestamp: this.#options.clock() } }
        : { id, command: 'error', data: { code: 'M_UNRECOGNIZED', message: 'Unknown command' } }
    socket.send(JSON.stringify(answer))
  }

  async deliver(txnId: string, body: string): Promise<Fault | undefined> {
    const socket = this.#socket
    try {
      const { ok, data } = await this.#request(this.#options.deadlineMs, (id) => {
        const head = JSON.stringify({ id, command: 'transaction', status: 'ok', txn_id: txnId })
        return body === '{}' ? head : `${head.slice(0, -1)},${body.slice(1)}`
      })
      return ok ? undefined : refusal(JSON.stringify(data ?? null))
    } catch (error) {
      if (socket && socket === this.#socket) this.#end('unacknowledged')
      throw error
    }
  }

  async ask({ method, path, query = '', body, deadlineMs }: Question): Promise<LinkAnswer> {
    const request: JsonObject = {
      method,
      path: `/_matrix/app/v1${path}`,
      query: query.slice(1),
      escaped_path: true,
      headers: {
        Authorization: [`Bearer ${this.#options.hsToken}`],
        'Content-Type': ['application/json'],
      },
      body: body === undefined ? null : (parseJson(body) ?? null),
    }
    const { ok, data } = await this.#request(deadlineMs, (id) =>
      JSON.stringify({ id, command: 'http_proxy', data: request }),
    )
    const status = isObject(data) ? data['status'] : undefined
    // One that forwards nothing knows nothing.
    if (!ok || !isObject(data) || typeof status !== 'number') return { status: 501, body: '{}' }
    return { status, body: JSON.stringify(data['body'] ?? {}) }
  }

  stop(): void {
    this.#stopped = true
    this.#end('stopping')
  }

  async #request(deadlineMs: number, write: (id: number) => string) {
    const socket = this.#socket
    if (!socket) throw new LinkError('It is not connected', false)
    if (this.#waiting.size >= maxWaiting) throw new LinkError('It answers too slowly', true)
    const id = ++this.#count
    const { promise, resolve, reject } = Promise.withResolvers<Parameters<Waiter['resolve']>[0]>()
    const timer = setTimeout(() => reject(new LinkError('It timed out', true)), deadlineMs)
    this.#waiting.set(id, { resolve, reject, timer })
    try {
      socket.send(write(id))
      return await promise
    } finally {
      clearTimeout(timer)
      this.#waiting.delete(id)
    }
  }

  #end(why: keyof typeof closes): void {
    const socket = this.#socket
    if (!socket) return
    this.#socket = undefined
    const [code, status] = closes[why]
    socket.close(code, JSON.stringify({ command: 'disconnect', status }))
    this.#fail('The connection was closed')
  }

  #fail(message: string): void {
    for (const { reject } of this.#waiting.values()) reject(new LinkError(message, false))
  }
}
