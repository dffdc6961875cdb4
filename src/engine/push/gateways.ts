/** When a gateway that fails is asked again: after a pause that doubles, by one pusher first. */
export type Pauses = { firstMs: number; longestMs: number }

/** The pushers of one gateway that have something to tell. */
export type Line = {
  readonly gateway: string
  /** With how often each was woken since it was last served. */
  readonly ready: Map<number, number>
  active: number
  failures: number
  heldUntil: number
}

type Resting = { line: Line; woken: number; until: number }

export type GatewaysOptions = Pauses & {
  clock: () => number
  /** Requests under way at once, to one gateway and to all. */
  perGateway: number
  total: number
}

/**
 * Whose turn it is: gateways take turns, each has few requests under way, and one that fails is left
 * alone for growing times and then asked by one pusher. A pusher that alone fails rests alone.
 */
export class Gateways {
  readonly #options: GatewaysOptions
  readonly #lines = new Map<string, Line>()
  readonly #resting = new Map<number, Resting>()
  readonly #failures = new Map<number, number>()
  readonly #active = new Map<number, Line>()

  constructor(options: GatewaysOptions) {
    this.#options = options
  }

  get active(): number {
    return this.#active.size
  }

  /** Pushers that wait, those under way, and gateways that are left alone for now. */
  get counts(): { waiting: number; inFlight: number; failing: number } {
    let waiting = this.#resting.size
    let failing = 0
    const now = this.#options.clock()
    for (const { ready, heldUntil } of this.#lines.values()) {
      waiting += ready.size
      if (heldUntil > now) failing++
    }
    return { waiting, inFlight: this.#active.size, failing }
  }

  /** A pusher has news; answers how often it had without being served. */
  wake(pusherId: number, gateway: string): number {
    const resting = this.#resting.get(pusherId)
    if (resting) return ++resting.woken
    const line = this.#lineOf(gateway)
    const woken = (line.ready.get(pusherId) ?? 0) + 1
    line.ready.set(pusherId, woken)
    return woken
  }

  /** The pushers whose turn it is; each is to be given back by `done`. */
  take(): number[] {
    const { clock, perGateway, total } = this.#options
    const now = clock()
    for (const [pusherId, { line, woken, until }] of this.#resting) {
      if (until > now) continue
      this.#resting.delete(pusherId)
      this.#lineOf(line.gateway).ready.set(pusherId, woken)
    }
    const taken: number[] = []
    for (const line of Array.from(this.#lines.values())) {
      if (line.heldUntil > now) continue
      const most = line.failures > 0 ? 1 : perGateway
      for (const pusherId of line.ready.keys()) {
        if (line.active >= most || this.#active.size >= total) break
        if (this.#active.has(pusherId)) continue
        line.ready.delete(pusherId)
        line.active++
        this.#active.set(pusherId, line)
        taken.push(pusherId)
      }
      // Who had a turn is last the next time.
      this.#lines.delete(line.gateway)
      this.#lines.set(line.gateway, line)
    }
    return taken
  }

  /** A pusher has told what it had, or some of it. */
  done(pusherId: number, { more }: { more: boolean }): void {
    const line = this.#release(pusherId)
    if (more && !line.ready.has(pusherId)) line.ready.set(pusherId, 1)
    this.#drop(line)
  }

  /** The gateway answered. */
  answered(pusherId: number): void {
    const line = this.#active.get(pusherId)
    if (line) line.failures = 0
    this.#failures.delete(pusherId)
  }

  /** The gateway failed: nobody asks it for a while. `startedAt`: when it was asked. */
  gatewayFailed(pusherId: number): void {
    const line = this.#release(pusherId)
    line.ready.set(pusherId, (line.ready.get(pusherId) ?? 0) + 1)
    const now = this.#options.clock()
    // What was under way with the request that failed first says nothing new.
    if (line.heldUntil > now) return
    line.heldUntil = now + this.#pause(line.failures++)
  }

  /** The gateway would not have what this pusher tells. */
  pusherFailed(pusherId: number): void {
    const line = this.#release(pusherId)
    const failures = this.#failures.get(pusherId) ?? 0
    this.#failures.set(pusherId, failures + 1)
    const until = this.#options.clock() + this.#pause(failures)
    const woken = (line.ready.get(pusherId) ?? 0) + 1
    line.ready.delete(pusherId)
    this.#resting.set(pusherId, { line, woken, until })
    this.#drop(line)
  }

  /** The pusher is gone. */
  removed(pusherId: number): void {
    const line = this.#release(pusherId)
    line.ready.delete(pusherId)
    this.#failures.delete(pusherId)
    this.#drop(line)
  }

  #release(pusherId: number): Line {
    const line = this.#active.get(pusherId)!
    this.#active.delete(pusherId)
    line.active--
    return line
  }

  #lineOf(gateway: string): Line {
    let line = this.#lines.get(gateway)
    if (!line) {
      line = { gateway, ready: new Map(), active: 0, failures: 0, heldUntil: 0 }
      this.#lines.set(gateway, line)
    }
    return line
  }

  #drop(line: Line): void {
    const isIdle = line.ready.size + line.active === 0 && line.failures === 0
    if (isIdle && this.#lines.get(line.gateway) === line) this.#lines.delete(line.gateway)
  }

  #pause(failures: number): number {
    const { firstMs, longestMs } = this.#options
    return Math.min(firstMs * 2 ** Math.min(failures, 30), longestMs)
  }
}
