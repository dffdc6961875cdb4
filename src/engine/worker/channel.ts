import { Packr } from 'msgpackr'
import { type Errcode, MatrixError, RemoteError, unavailable } from '#core/error.ts'
import type { Caller, Frame, Signal } from '#engine/worker/protocol.ts'

/** The half of a Worker, and of a worker's global scope, that a channel needs. */
export interface Port {
  postMessage(data: Uint8Array, transfer: ArrayBuffer[]): void
  addEventListener(type: 'message', listener: (event: MessageEvent) => void): void
}

type Methods<C> = { [M in keyof C]: (...args: never[]) => unknown }

/** What one side answers: each call of `C`, as an asynchronous function. */
export type Handlers<C extends Methods<C>> = {
  [M in keyof C]: (...args: Parameters<C[M]>) => Promise<ReturnType<C[M]>>
}

export type ChannelOptions = {
  /** Milliseconds after which a call is given up, unless `deadlines` names its method. */
  deadlineMs?: number
  deadlines?: Readonly<Record<string, number>>
  /** Calls that may wait at once; more are refused as unavailable. */
  maxWaiting?: number
  onSignal?: (signal: Signal) => void
  /** Told of each bug that a handler of this side threw, before it crosses. */
  onFault?: (error: Error, method: string) => void
}

type Waiting = {
  resolve: (value: never) => void
  reject: (error: Error) => void
  method: string
  expires: number
}

// Fresh maps and no records: both ends must be able to read any frame on its own.
const packr = new Packr({ useRecords: false, int64AsType: 'number' })

/**
 * One end of a line between two threads: it calls `Theirs` and answers `Ours`. The frames of one
 * turn of the event loop cross as one message.
 */
export class Channel<
  Theirs extends Methods<Theirs>,
  Ours extends Methods<Ours> = object,
> implements Caller<Theirs> {
  readonly #port: Port
  readonly #handlers: Handlers<Ours>
  readonly #options: ChannelOptions
  readonly #waiting = new Map<number, Waiting>()
  #outgoing: Frame[] = []
  #flushing = false
  #nextId = 1
  #sweeper: ReturnType<typeof setTimeout> | undefined
  #sweepAt = Infinity
  #closed: string | undefined

  constructor(port: Port, handlers: Handlers<Ours>, options: ChannelOptions = {}) {
    this.#port = port
    this.#handlers = handlers
    this.#options = options
    port.addEventListener('message', (event) => this.#arrive(event.data))
  }

  /** How many calls of ours wait for their answer. */
  get waiting(): number {
    return this.#waiting.size
  }

  call<M extends keyof Theirs>(
    method: M,
    ...args: Parameters<Theirs[M]>
  ): Promise<ReturnType<Theirs[M]>> {
    if (this.#closed !== undefined) return Promise.reject(unavailable(this.#closed))
    if (this.#waiting.size >= (this.#options.maxWaiting ?? Infinity))
      return Promise.reject(unavailable('Too much work is waiting'))
    const { promise, resolve, reject } = Promise.withResolvers<ReturnType<Theirs[M]>>()
    const id = this.#nextId++
    const name = String(method)
    const deadline = this.#options.deadlines?.[name] ?? this.#options.deadlineMs ?? 60_000
    const expires = performance.now() + deadline
    this.#waiting.set(id, { resolve, reject, method: name, expires })
    this.#sweepBy(expires)
    this.#post({ k: 'call', id, m: name, a: args })
    return promise
  }

  signal(signal: Signal): void {
    if (this.#closed === undefined) this.#post({ k: 'signal', v: signal })
  }

  /** Refuses every waiting call, and all to come: the other side is gone. */
  close(reason: string): void {
    if (this.#closed !== undefined) return
    this.#closed = reason
    clearTimeout(this.#sweeper)
    this.#outgoing = []
    const error = unavailable(reason)
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }

  #post(frame: Frame): void {
    this.#outgoing.push(frame)
    if (this.#flushing) return
    this.#flushing = true
    setImmediate(() => this.#flush())
  }

  #flush(): void {
    this.#flushing = false
    if (this.#closed !== undefined || this.#outgoing.length === 0) return
    const frames = this.#outgoing
    this.#outgoing = []
    // `pack` answers a view of a pooled buffer, which a structured clone would copy whole.
    const bytes = new Uint8Array(packr.pack(frames))
    this.#port.postMessage(bytes, [bytes.buffer])
  }

  #arrive(data: Uint8Array): void {
    if (this.#closed !== undefined) return
    for (const frame of packr.unpack(data) as Frame[]) {
      if (frame.k === 'call') void this.#answer(frame)
      else if (frame.k === 'signal') this.#options.onSignal?.(frame.v)
      else this.#settle(frame)
    }
  }

  async #answer({ id, m, a }: Frame & { k: 'call' }): Promise<void> {
    try {
      if (!Object.hasOwn(this.#handlers, m)) throw new Error(`nothing answers the call '${m}'`)
      const handler = this.#handlers[m as keyof Ours] as (...args: unknown[]) => Promise<unknown>
      this.#post({ k: 'ok', id, v: await handler(...a) })
    } catch (error) {
      this.#post(failure(id, error))
      if (error instanceof MatrixError || error instanceof RemoteError) return
      this.#options.onFault?.(error instanceof Error ? error : new Error(String(error)), m)
    }
  }

  #settle(frame: Exclude<Frame, { k: 'call' | 'signal' }>): void {
    const waiting = this.#waiting.get(frame.id)
    // A call that was given up on may still be answered.
    if (!waiting) return
    this.#waiting.delete(frame.id)
    if (frame.k === 'ok') waiting.resolve(frame.v as never)
    else waiting.reject(errorOf(frame))
  }

  /** One timer for all calls: nearly every call is answered long before its deadline. */
  #sweepBy(expires: number): void {
    if (expires >= this.#sweepAt) return
    this.#sweepAt = expires
    clearTimeout(this.#sweeper)
    this.#sweeper = setTimeout(() => this.#sweep(), Math.max(0, expires - performance.now()))
    this.#sweeper.unref()
  }

  #sweep(): void {
    this.#sweepAt = Infinity
    const now = performance.now()
    let next = Infinity
    for (const [id, { reject, method, expires }] of this.#waiting) {
      if (expires <= now) {
        this.#waiting.delete(id)
        reject(unavailable(`'${method}' was not answered in time`))
      } else if (expires < next) next = expires
    }
    if (next < Infinity) this.#sweepBy(next)
  }
}

function failure(id: number, error: unknown): Frame {
  if (error instanceof MatrixError) {
    const { status, errcode, message, extra } = error
    return { k: 'err', id, status, errcode, error: message, extra }
  }
  if (error instanceof RemoteError) {
    const { server, status, errcode, message } = error
    return { k: 'remote', id, server, status, errcode, message }
  }
  if (error instanceof Error)
    return { k: 'fault', id, message: error.message, stack: error.stack ?? '' }
  return { k: 'fault', id, message: String(error), stack: '' }
}

function errorOf(frame: Extract<Frame, { k: 'err' | 'remote' | 'fault' }>): Error {
  switch (frame.k) {
    case 'err':
      return new MatrixError(
        frame.status,
        frame.errcode as Errcode,
        frame.error,
        frame.extra as Record<string, unknown>,
      )
    case 'remote':
      return new RemoteError(frame.server, frame.status, frame.errcode, frame.message)
    case 'fault': {
      const error = new Error(frame.message)
      // The stack of the thread in which it happened says more than that of this line.
      error.stack = frame.stack
      return error
    }
  }
}

/** Two ports joined back to back in one thread; what is posted on one arrives at the other. */
export function portPair(): [Port, Port] {
  const ends = [new LocalPort(), new LocalPort()] as const
  ends[0].other = ends[1]
  ends[1].other = ends[0]
  return [ends[0], ends[1]]
}

class LocalPort implements Port {
  other: LocalPort | undefined
  listener: ((event: MessageEvent) => void) | undefined

  addEventListener(_type: 'message', listener: (event: MessageEvent) => void): void {
    this.listener = listener
  }

  postMessage(data: Uint8Array): void {
    queueMicrotask(() => this.other?.listener?.(new MessageEvent('message', { data })))
  }
}
