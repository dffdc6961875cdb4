import { RemoteError } from '#core/error.ts'
import { busy } from '#engine/federation/answer.ts'

export type BudgetOptions = {
  /** Requests in flight at once to one server. */
  perServer: number
  /** Requests that may wait for one server; more are refused. */
  waitingPerServer: number
  /** Requests in flight at once, to all servers. */
  total: number
  /** Requests that may wait, for all servers; more are refused. */
  waitingTotal: number
}

type Waiter = { start: (lane: Lane) => void }
type Lane = { inFlight: number; limit: number; ready: Set<Destination> }
type Destination = { lane: Lane; inFlight: number; waiting: Set<Waiter> }

/**
 * Who may have a request in flight. Servers take turns, so that none waits for the queue of another.
 * Servers that have not answered lately share one half of all requests: a hundred dead ones, each
 * with its request hanging until the deadline, leave the other half to the living. A small part is
 * never given to the living, so that servers we do not know yet get their first turn. Likewise a
 * quarter of the places to wait is for the living: whoever names servers that hang cannot have them all.
 */
export class Budget {
  readonly #options: BudgetOptions
  readonly #living: Lane
  readonly #doubtful: Lane
  readonly #destinations = new Map<string, Destination>()
  #inFlight = 0
  #waiting = 0

  constructor(options: BudgetOptions) {
    this.#options = options
    const share = (part: number) => Math.max(1, Math.floor(options.total * part))
    this.#living = { inFlight: 0, limit: share(7 / 8), ready: new Set() }
    this.#doubtful = { inFlight: 0, limit: share(1 / 2), ready: new Set() }
  }

  get inFlight(): number {
    return this.#inFlight
  }

  get waiting(): number {
    return this.#waiting
  }

  /** Servers with requests in flight or waiting. */
  get servers(): number {
    return this.#destinations.size
  }

  /** Waits for a turn; what it answers gives the turn back. Refuses when too many wait already. */
  async acquire(server: string, doubtful: boolean, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted()
    const lane = doubtful ? this.#doubtful : this.#living
    let destination = this.#destinations.get(server)
    if (!destination) {
      destination = { lane, inFlight: 0, waiting: new Set() }
      this.#destinations.set(server, destination)
    } else if (destination.lane !== lane) {
      if (destination.lane.ready.delete(destination)) lane.ready.add(destination)
      destination.lane = lane
    }
    const { waitingPerServer, waitingTotal } = this.#options
    const places = doubtful ? Math.ceil(waitingTotal * (3 / 4)) : waitingTotal
    if (destination.waiting.size >= waitingPerServer || this.#waiting >= places) {
      this.#forget(server, destination)
      throw new RemoteError(server, 0, busy, `Too many requests to ${server} wait already`)
    }
    const started = await this.#turn(destination, signal).finally(() =>
      this.#forget(server, destination),
    )
    return this.#releaseOnce(server, destination, started)
  }

  #turn(destination: Destination, signal: AbortSignal): Promise<Lane> {
    const { promise, resolve, reject } = Promise.withResolvers<Lane>()
    const cancel = () => {
      destination.waiting.delete(waiter)
      this.#waiting--
      if (destination.waiting.size === 0) destination.lane.ready.delete(destination)
      reject(signal.reason as Error)
    }
    const waiter: Waiter = {
      start: (lane) => {
        signal.removeEventListener('abort', cancel)
        this.#waiting--
        resolve(lane)
      },
    }
    signal.addEventListener('abort', cancel, { once: true })
    destination.waiting.add(waiter)
    this.#waiting++
    if (destination.inFlight < this.#options.perServer) destination.lane.ready.add(destination)
    this.#startNext()
    return promise
  }

  #startNext(): void {
    for (const lane of [this.#living, this.#doubtful])
      while (lane.ready.size > 0 && lane.inFlight < lane.limit) {
        if (this.#inFlight >= this.#options.total) return
        const [destination] = lane.ready
        this.#startOne(lane, destination!)
      }
  }

  #startOne(lane: Lane, destination: Destination): void {
    lane.ready.delete(destination)
    const [waiter] = destination.waiting
    destination.waiting.delete(waiter!)
    destination.inFlight++
    lane.inFlight++
    this.#inFlight++
    // To the end of the row: others come first now.
    if (destination.waiting.size > 0 && destination.inFlight < this.#options.perServer)
      lane.ready.add(destination)
    waiter!.start(lane)
  }

  #releaseOnce(server: string, destination: Destination, lane: Lane): () => void {
    let released = false
    return () => {
      if (released) return
      released = true
      destination.inFlight--
      lane.inFlight--
      this.#inFlight--
      if (destination.waiting.size > 0) destination.lane.ready.add(destination)
      this.#forget(server, destination)
      this.#startNext()
    }
  }

  #forget(server: string, destination: Destination): void {
    if (destination.inFlight === 0 && destination.waiting.size === 0)
      this.#destinations.delete(server)
  }
}
