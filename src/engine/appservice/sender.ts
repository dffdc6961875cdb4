import type { Following } from '#engine/appservice/follows.ts'
import { type Fault, type Link, LinkError } from '#engine/appservice/link.ts'
import { type Ready, type Sources, nextTransaction } from '#engine/appservice/next-transaction.ts'
import type { Log } from '#src/log.ts'
import * as known from '#store/appservice/known.ts'
import * as queue from '#store/appservice/queue.ts'
import * as stuck from '#store/appservice/stuck.ts'

/** An application service with the way to it. */
export type Receiver = Following & {
  readonly link: Link
  /** As the last run left it. */
  readonly failures: number
  readonly retryAt: number
}

export type SenderOptions = Sources & {
  log: Pick<Log, 'warn' | 'info' | 'debug'>
  /** The wait after the first failure, and the longest. */
  firstMs: number
  longestMs: number
  /** Events that wait for one at most: of more the oldest are dropped. */
  maxQueued: number
  /** Events that waited longer are dropped. */
  keepMs: number
}

/** What is known of one application service. */
type Line = Receiver & {
  readonly place: number
  running: Promise<void> | undefined
  /** Something came meanwhile. */
  again: boolean
  timer: ReturnType<typeof setTimeout> | undefined
  failures: number
  retryAt: number
  /** Why it failed last; undefined: it did not, or that was in an earlier run. */
  fault: Fault | undefined
  readonly faults: Record<Fault['kind'], number>
  /** Whether a transaction that was begun may wait to be repeated. */
  mayHaveOld: boolean
  waiting: number
  trimming: boolean
  sent: number
  dropped: number
}

const sweepEveryMs = 3_600_000
const sweepPiece = 5_000
/** After trouble with the database. */
const troubleMs = 1_000

/**
 * Sends application services what waits for them: one transaction at a time each, the same again until it is
 * taken. One that fails is left alone for growing times, and costs a timer.
 *
 * Spec: application-service-api/#pushing-events
 */
export class AppserviceSender {
  readonly #options: SenderOptions
  readonly #lines: readonly Line[]
  readonly #run = crypto.randomUUID().slice(0, 8)
  #timer: ReturnType<typeof setInterval> | undefined
  #sweeping: Promise<void> | undefined
  #passingCount = 0
  #stopped = false

  constructor(receivers: readonly Receiver[], options: SenderOptions) {
    this.#options = options
    this.#lines = receivers.map((receiver, place) => ({
      ...receiver,
      place,
      running: undefined,
      again: false,
      fault: undefined,
      faults: { refused: 0, no_answer: 0 },
      timer: undefined,
      mayHaveOld: true,
      waiting: 0,
      trimming: false,
      sent: 0,
      dropped: 0,
    }))
  }

  /** Goes on with what waited when the last run ended. */
  async start(): Promise<void> {
    const { sql } = this.#options
    await queue.dropStray(
      sql,
      this.#lines.map(({ nid }) => nid),
    )
    for (const { appservice_nid: nid, events } of await queue.counts(sql)) {
      const line = this.#lines.find((each) => each.nid === nid)
      if (line) line.waiting = events
    }
    for (const line of this.#lines) this.#wake(line)
    this.#timer = setInterval(() => {
      this.#sweeping ??= this.sweep()
        .catch((error: unknown) => this.#warn(error))
        .finally(() => (this.#sweeping = undefined))
    }, sweepEveryMs)
    this.#timer.unref()
  }

  /** Begins nothing more; what is under way has a moment to end, and is repeated else. */
  async stop(): Promise<void> {
    this.#stopped = true
    clearInterval(this.#timer)
    for (const line of this.#lines) {
      clearTimeout(line.timer)
      line.link.stop()
    }
    const ended = Promise.all([this.#sweeping, ...this.#lines.map(({ running }) => running)])
    await Promise.race([ended, Bun.sleep(1_000)])
  }

  /** So many events were queued for it; 0: something else. */
  queued(place: number, events: number): void {
    const line = this.#lines[place]!
    line.waiting += events
    if (line.waiting > this.#options.maxQueued && !line.trimming) this.#trim(line)
    this.#wake(line)
  }

  wake(place: number): void {
    this.#wake(this.#lines[place]!)
  }

  /** It is there, by its own word. */
  reachable(place: number): void {
    const line = this.#lines[place]!
    clearTimeout(line.timer)
    line.timer = undefined
    line.retryAt = 0
    this.#wake(line)
  }

  /** Whether it failed lately. */
  isFailing(place: number): boolean {
    const { link, failures } = this.#lines[place]!
    return !link.isUp || failures > 0
  }

  /** Whether there was no answer of it lately: then nobody waits for one. Who refuses a transaction is there. */
  isAway(place: number): boolean {
    return this.isFailing(place) && this.#lines[place]!.fault?.kind !== 'refused'
  }

  get counts() {
    return this.#lines.map(({ appservice, link, ...line }) => ({
      id: appservice.id,
      waiting: Math.max(0, line.waiting),
      failures: line.failures,
      retryAt: line.retryAt,
      fault: line.fault,
      faults: line.faults,
      isUp: link.isUp,
      isUnderWay: line.running !== undefined,
      sent: line.sent,
      dropped: line.dropped,
    }))
  }

  /**
   * Gives up on the transaction in flight, or on some events of it, and goes on at once; answers how many
   * events it will not get, or undefined if that transaction is not in flight any more. What is left of it is
   * another transaction: one that is repeated has to be the same.
   */
  async skip(
    place: number,
    txnId: string,
    eventIds?: readonly string[],
  ): Promise<number | undefined> {
    const line = this.#lines[place]!
    const { sql, log, clock } = this.#options
    const events = await stuck.skip(sql, { nid: line.nid, txnId, eventIds, now: clock() })
    if (events === undefined) return undefined
    line.mayHaveOld = true
    line.dropped += events
    const { id } = line.appservice
    log.warn(
      { appservice: id, txn: txnId, events, eventIds },
      'what an application service was sent is skipped',
    )
    this.reachable(place)
    return events
  }

  /** Drops what waited for too long. */
  async sweep(): Promise<void> {
    const { sql, clock, keepMs } = this.#options
    while (!this.#stopped) {
      const dropped = await queue.dropOlder(sql, clock() - keepMs, sweepPiece)
      if (dropped.length === 0) return
      for (const { appservice_nid: nid, events } of dropped) {
        const line = this.#lines.find((each) => each.nid === nid)
        if (line) this.#lost(line, events)
      }
    }
  }

  #trim(line: Line): void {
    const { sql, maxQueued } = this.#options
    line.trimming = true
    // A tenth more, so that it is not done for each event.
    const tooMany = line.waiting - Math.floor(maxQueued * 0.9)
    queue
      .dropOldest(sql, line.nid, Math.min(tooMany, 100_000))
      .then((events) => this.#lost(line, events))
      .catch((error: unknown) => this.#warn(error))
      .finally(() => (line.trimming = false))
  }

  #lost(line: Line, events: number): void {
    line.waiting -= events
    line.dropped += events
    const { id } = line.appservice
    this.#options.log.warn({ appservice: id, events }, 'an application service was away too long')
  }

  #wake(line: Line): void {
    if (this.#stopped || line.timer !== undefined || !line.link.isUp) return
    if (line.running) {
      line.again = true
      return
    }
    const wait = line.retryAt - this.#options.clock()
    if (wait > 0) return this.#later(line, wait)
    line.running = this.#serve(line).then((ms) => {
      line.running = undefined
      if (ms !== undefined) this.#later(line, ms)
      else if (line.again) this.#wake(line)
    })
  }

  #later(line: Line, ms: number): void {
    if (this.#stopped) return
    line.timer = setTimeout(
      () => {
        line.timer = undefined
        this.#wake(line)
      },
      Math.min(Math.max(ms, 10), 2 ** 31 - 1),
    )
    line.timer.unref()
  }

  /** Sends until nothing is left; else, after how many milliseconds to go on. */
  async #serve(line: Line): Promise<number | undefined> {
    try {
      while (!this.#stopped && line.link.isUp) {
        line.again = false
        const ready = await this.#nextFor(line)
        if (!ready) {
          if (line.again) continue
          return undefined
        }
        const fault = await this.#deliver(line, ready)
        if (fault) return await this.#failed(line, fault)
        line.sent++
        if (ready.durable) await queue.finish(this.#options.sql, line.nid, ready.txnId)
        if (line.failures > 0) await this.#recovered(line)
      }
      return undefined
    } catch (error) {
      // What was begun is found again.
      line.mayHaveOld = true
      this.#warn(error)
      return troubleMs
    }
  }

  async #nextFor(line: Line): Promise<Ready | undefined> {
    if (line.mayHaveOld) {
      const old = await queue.inFlight(this.#options.sql, line.nid)
      line.mayHaveOld = false
      if (old) return { txnId: old.txn_id, body: old.body, taken: 0, durable: true }
    }
    const ready = await nextTransaction(
      this.#options,
      line,
      line.place,
      () => `${this.#run}-${++this.#passingCount}`,
    )
    if (ready) line.waiting -= ready.taken
    return ready
  }

  async #deliver(line: Line, { txnId, body, durable }: Ready): Promise<Fault | undefined> {
    const fault = await line.link.deliver(txnId, body).catch((error: unknown): Fault => {
      if (!(error instanceof LinkError)) throw error
      return { kind: 'no_answer', text: error.message }
    })
    if (fault && durable) line.mayHaveOld = true
    return fault
  }

  /** Answers how long it is left alone. */
  async #failed(line: Line, fault: Fault): Promise<number | undefined> {
    const { sql, clock, firstMs, longestMs, passing, log } = this.#options
    if (this.#stopped) return undefined
    const isOther = line.fault?.kind !== fault.kind
    line.fault = fault
    line.faults[fault.kind]++
    passing.forget(line.place)
    const wait = Math.min(longestMs, firstMs * 2 ** Math.min(line.failures, 30))
    line.failures++
    line.retryAt = clock() + wait
    // Not each time: it may go on for weeks.
    if (isOther || /^10*$/.test(String(line.failures)))
      log.warn(
        { appservice: line.appservice.id, ...fault, failures: line.failures },
        fault.kind === 'refused'
          ? 'an application service refuses what it is sent'
          : 'an application service does not answer',
      )
    await known.noteFailures(sql, line.nid, line.failures, line.retryAt)
    // One that connects to us says itself when it is there again.
    return line.link.isUp ? line.retryAt - clock() : undefined
  }

  async #recovered(line: Line): Promise<void> {
    const { id } = line.appservice
    this.#options.log.info({ appservice: id }, 'an application service takes what it is sent again')
    line.failures = 0
    line.retryAt = 0
    line.fault = undefined
    await known.noteFailures(this.#options.sql, line.nid, 0, 0)
  }

  #warn(error: unknown): void {
    if (!this.#stopped)
      this.#options.log.warn({ err: error }, 'what application services are sent is held up')
  }
}
