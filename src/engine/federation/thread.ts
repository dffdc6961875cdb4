import { unavailable } from '#core/error.ts'
import type {
  AppserviceRequest,
  Download,
  Downloaded,
  FederationWorkerCalls,
  FederationWorkerStart,
  GatewayRequest,
} from '#engine/federation/options.ts'
import { Channel } from '#engine/worker/channel.ts'
import type { Sample } from '#engine/worker/measured.ts'
import type {
  Federation,
  FederationCalls,
  OutgoingAnswer,
  Signal,
} from '#engine/worker/protocol.ts'

export type FederationThreadOptions = {
  /** The module that the worker runs: `src/federation-worker.ts`. */
  entry: string
  start: FederationWorkerStart
  /** The worker died, or a handler of it had a bug. */
  onFault: (error: Error) => void
  /** Milliseconds before the first restart; doubled for each one that follows soon. */
  restartMs?: number
}

type Line = Channel<FederationWorkerCalls>

/** A request brings its own deadline; this one is for a worker that no longer answers. */
const deadlines = {
  request: 620_000,
  keys: 60_000,
  keyDocuments: 60_000,
  download: 1_500_000,
  askGateway: 60_000,
  askAppservice: 620_000,
  start: 30_000,
  stop: 4_000,
  measure: 1_000,
}
const maxWaiting = 20_000
const maxRestartMs = 10_000
/** A worker that lived this long is forgiven its earlier deaths. */
const healthyMs = 30_000

/** The federation worker as main sees it: started, restarted when it dies, and asked. */
export class FederationThread implements Federation {
  readonly #options: FederationThreadOptions
  #worker: Worker | undefined
  #line: Line | undefined
  #delay: number
  #timer: ReturnType<typeof setTimeout> | undefined
  #stopping = false
  #startedAt = 0

  constructor(options: FederationThreadOptions) {
    this.#options = options
    this.#delay = options.restartMs ?? 100
  }

  async start(): Promise<void> {
    const worker = new Worker(this.#options.entry)
    this.#worker = worker
    const line: Line = new Channel(worker, {}, { deadlines, maxWaiting })
    worker.addEventListener('error', (event) => {
      event.preventDefault()
      this.#options.onFault(new Error(event.message))
    })
    worker.addEventListener('close', () => this.#died(worker, line))
    try {
      await line.call('start', this.#options.start)
    } catch (error) {
      worker.terminate()
      throw error
    }
    this.#line = line
    this.#startedAt = performance.now()
  }

  async call<M extends keyof FederationCalls>(
    method: M,
    ...args: Parameters<FederationCalls[M]>
  ): Promise<ReturnType<FederationCalls[M]>> {
    const line = this.#line
    if (!line) throw unavailable('Requests to other servers are not possible just now')
    const answer = line.call(method, ...(args as Parameters<FederationWorkerCalls[M]>))
    return answer as Promise<ReturnType<FederationCalls[M]>>
  }

  /** Fetches media of another server to a file. */
  async download(download: Download): Promise<Downloaded> {
    const line = this.#line
    if (!line) throw unavailable('Requests to other servers are not possible just now')
    return line.call('download', download)
  }

  /** Asks a push gateway. */
  async askGateway(request: GatewayRequest): Promise<OutgoingAnswer> {
    const line = this.#line
    if (!line) throw unavailable('Requests to push gateways are not possible just now')
    return line.call('askGateway', request)
  }

  /** Asks an application service. */
  async askAppservice(request: AppserviceRequest): Promise<OutgoingAnswer> {
    const line = this.#line
    if (!line) throw unavailable('Requests to application services are not possible just now')
    return line.call('askAppservice', request)
  }

  /** What is signalled while the worker is away, the next one finds out by itself. */
  signal(signal: Signal): void {
    this.#line?.signal(signal)
  }

  async counters(): Promise<{ [name: string]: number }> {
    return (await this.#line?.call('counters')) ?? {}
  }

  /** Whether it is there. */
  get isUp(): boolean {
    return this.#line !== undefined
  }

  /** What it has measured; nothing if it does not answer in time. */
  async measure(): Promise<Sample[] | undefined> {
    const line = this.#line
    const waiting = line?.waiting ?? 0
    const samples = await line?.call('measure').catch(() => undefined)
    return samples && [...samples, { name: 'calls_waiting', value: waiting }]
  }

  async stop(): Promise<void> {
    this.#stopping = true
    clearTimeout(this.#timer)
    const line = this.#line
    this.#line = undefined
    // One that does not come to an end in time is ended: what it had in flight is durable.
    await line?.call('stop').catch((error: unknown) => this.#fault(error))
    line?.close('The server is stopping')
    this.#worker?.terminate()
  }

  #died(worker: Worker, line: Line): void {
    line.close('The federation worker ended')
    if (worker !== this.#worker || this.#stopping) return
    this.#worker = undefined
    const started = this.#line !== undefined
    this.#line = undefined
    // One that never started is reported by the start that failed, and not tried again by itself
    // unless an earlier one had run.
    if (!started && this.#timer === undefined) return
    if (performance.now() - this.#startedAt > healthyMs)
      this.#delay = this.#options.restartMs ?? 100
    this.#options.onFault(new Error(`The worker ended, and restarts in ${this.#delay} ms`))
    this.#timer = setTimeout(() => {
      this.start().catch((error: unknown) => this.#fault(error))
    }, this.#delay)
    this.#delay = Math.min(2 * this.#delay, maxRestartMs)
  }

  #fault(error: unknown): void {
    this.#options.onFault(error instanceof Error ? error : new Error(String(error)))
  }
}
