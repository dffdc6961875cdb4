import {
  type Pool,
  type PoolOptions,
  type Sql,
  isConnectionLost,
  isConnectionRefused,
  openPool,
} from '#store/db.ts'
import { StatementMeter } from '#store/statement-meter.ts'

/** How statements meet a database that went away. */
export type Patience = {
  /** Milliseconds from its going in which they wait for it; after that they fail at once. */
  waitMs: number
  /** Statements and transactions that may wait. */
  maxWaiting?: number
  /** Those that may be under way; more are refused. */
  maxUnderWay?: number
  /** Counts them. */
  meter?: StatementMeter
  onAway?: (error: unknown) => void
  onBack?: (awayMs: number) => void
}

/** What those are told that do not wait any longer; to `isConnectionLost` a server that is not up. */
export class DatabaseAway extends Error {
  override readonly name = 'DatabaseAway'
  readonly code = '57P03'
}

/** Lack of resources to `isOutOfResources`: the database is there, and has too much to do. */
export class TooManyStatements extends Error {
  override readonly name = 'TooManyStatements'
  readonly code = '53000'
}

/** What the driver makes of a tagged template, as far as it is needed here. */
type Statement = Promise<unknown> & {
  handler: (statement: Statement) => unknown
  resolve: (result: unknown) => void
  reject: (error: unknown) => void
  /** The backend that it was sent to; null if it never was. */
  state: unknown
  active: boolean
  /** The text with its parameters' places, once it was sent. */
  string?: string
  /** What it was sent with, in the form in which it travels; null has it made anew. */
  parameters?: unknown[] | null
  cursorFn?: unknown
  forEachFn?: unknown
}

const maxWaiting = 2_000
const maxUnderWay = 20_000
/** How often something that did reach the server is sent again: it may be what ends the server. */
const maxRepeats = 2
/**
 * Seconds. Only what the driver had queued when the database went tries to connect, each once: what
 * comes later waits at the door.
 */
const reconnectPause = 0.02
const firstPauseMs = 20
const maxPauseMs = 500

/**
 * Opens a pool whose statements wait while the database is away, and are sent again where that is
 * safe: what never reached it, what only reads, transactions whose commit was not on its way. What
 * may have been done fails as it does without. Statements inside of a transaction fail with it.
 */
export function openPatientPool(url: string, options: PoolOptions, patience: Patience): Pool {
  const pool = openPool(url, { ...options, pause: reconnectPause })
  const door = new Door(pool, url, patience)
  const run = (statement: Statement) => door.run(statement, handler)
  let handler: Statement['handler']
  const watch = (made: unknown) => {
    if (made instanceof Promise) {
      handler ??= (made as Statement).handler
      ;(made as Statement).handler = run
    }
    return made
  }
  const own: Partial<Record<string | symbol, unknown>> = {
    begin: (...args: BeginArguments) => door.begin(args),
    unsafe: (...args: Parameters<Pool['unsafe']>) => watch(pool.unsafe(...args)),
    end: (...args: Parameters<Pool['end']>) => {
      door.close()
      return pool.end(...args)
    },
  }
  return new Proxy(pool, {
    apply: (target, self, args) => watch(Reflect.apply(target, self, args)),
    get: (target, key) => own[key] ?? Reflect.get(target, key),
  })
}

type Transaction = (sql: Sql) => unknown
type BeginArguments = [Transaction] | [string, Transaction]

type Waiter = { go: () => void; refuse: (error: Error) => void }

/** Open while the database is there. */
class Door {
  readonly #pool: Pool
  readonly #url: string
  readonly #patience: Patience
  readonly #meter: StatementMeter
  readonly #waiting = new Set<Waiter>()
  #awayAt: number | undefined
  #reason: unknown
  #deadline: ReturnType<typeof setTimeout> | undefined
  #closed = false

  constructor(pool: Pool, url: string, patience: Patience) {
    this.#pool = pool
    this.#url = url
    this.#patience = patience
    this.#meter = patience.meter ?? new StatementMeter()
  }

  /** Hands a statement to the driver, now or when the database is back. */
  run(statement: Statement, handler: Statement['handler']): void {
    const { resolve, reject } = statement
    const meter = this.#meter
    if (meter.underWay >= (this.#patience.maxUnderWay ?? maxUnderWay)) {
      reject(new TooManyStatements('Too many statements wait for the database'))
      return
    }
    meter.underWay++
    const began = performance.now()
    const tries = new Tries(this.#patience.waitMs)
    /** The driver has it, and has not said yet what became of it. */
    let isOut = false
    const send = () => {
      isOut = true
      statement.state = null
      // The driver serializes them in place, and would do it again: true would become false.
      statement.parameters = null
      handler(statement)
    }
    const fail = (error: unknown) => {
      meter.underWay--
      meter.failed++
      reject(error)
    }
    statement.resolve = (result) => {
      meter.underWay--
      meter.times.add(performance.now() - began)
      resolve(result)
    }
    statement.reject = (error) => {
      // Of a connection that is reset the driver tells twice: the error, and then the end.
      if (!isOut) return
      isOut = false
      statement.active = false
      const unsent = statement.state === null
      const again = this.#isAway(error) || (unsent && isConnectionRefused(error))
      if (again && (unsent || isRead(statement)) && tries.mayRepeat(unsent))
        this.#wait(error, { go: send, refuse: fail })
      else fail(error)
    }
    if (this.#awayAt === undefined || this.#closed) send()
    else this.#enter({ go: send, refuse: fail })
  }

  /** Runs a transaction: again, if it did not reach its commit. */
  async begin(args: BeginArguments): Promise<unknown> {
    const meter = this.#meter
    if (meter.underWay >= (this.#patience.maxUnderWay ?? maxUnderWay))
      throw new TooManyStatements('Too many transactions wait for the database')
    meter.underWay++
    const began = performance.now()
    try {
      const result = await this.#begin(args)
      meter.times.add(performance.now() - began)
      return result
    } catch (error) {
      meter.failed++
      throw error
    } finally {
      meter.underWay--
    }
  }

  async #begin(args: BeginArguments): Promise<unknown> {
    const tries = new Tries(this.#patience.waitMs)
    const [options, body] = args.length === 2 ? args : ['', args[0]]
    if (this.#awayAt !== undefined) await this.#passage((waiter) => this.#enter(waiter))
    for (;;) {
      const asked = performance.now()
      let began = false
      let done = false
      try {
        return await this.#pool.begin(options, async (sql) => {
          began = true
          this.#meter.waits.add(performance.now() - asked)
          const made = body(sql)
          const result = await (Array.isArray(made) ? Promise.all(made) : made)
          done = true
          return result
        })
      } catch (error) {
        const again = this.#isAway(error) || (!began && isConnectionRefused(error))
        // Its commit was on its way: only who wrote it can find out.
        if (!again || done || !tries.mayRepeat(!began)) throw error
        await this.#passage((waiter) => this.#wait(error, waiter))
      }
    }
  }

  /** Lets nobody wait any longer. */
  close(): void {
    this.#closed = true
    clearTimeout(this.#deadline)
    this.#refuseAll()
  }

  /** Whether an error says that the database went away; if so the door is closed until it is back. */
  #isAway(error: unknown): boolean {
    if (this.#closed || !isConnectionLost(error)) return false
    if (this.#awayAt !== undefined) return true
    this.#awayAt = performance.now()
    this.#meter.isAway = true
    this.#reason = error
    this.#deadline = setTimeout(() => this.#refuseAll(), this.#patience.waitMs)
    this.#deadline.unref()
    void this.#watch()
    return true
  }

  /** Waits after a failure: until the database is back, or, where it only takes nobody in, a little. */
  #wait(error: unknown, waiter: Waiter): void {
    if (this.#awayAt !== undefined || this.#closed) return this.#enter(waiter)
    this.#reason = error
    this.#enter(waiter)
    setTimeout(() => {
      if (this.#awayAt === undefined && this.#waiting.delete(waiter)) waiter.go()
    }, firstPauseMs * 2)
  }

  #enter(waiter: Waiter): void {
    const away = this.#awayAt === undefined ? 0 : performance.now() - this.#awayAt
    const { waitMs, maxWaiting: most = maxWaiting } = this.#patience
    if (this.#closed || away >= waitMs || this.#waiting.size >= most) waiter.refuse(this.#refusal())
    else this.#waiting.add(waiter)
  }

  #passage(enter: (waiter: Waiter) => void): Promise<void> {
    return new Promise((resolve, reject) => enter({ go: resolve, refuse: reject }))
  }

  #refuseAll(): void {
    const refused = [...this.#waiting]
    this.#waiting.clear()
    for (const { refuse } of refused) refuse(this.#refusal())
  }

  #refusal(): Error {
    const reason = this.#reason instanceof Error ? this.#reason.message : String(this.#reason)
    return new DatabaseAway(`The database is away: ${reason}`, { cause: this.#reason })
  }

  /** Asks for the database until it answers. One lost connection of many is back at once. */
  async #watch(): Promise<void> {
    const { onAway, onBack } = this.#patience
    // Apart, because the pool may hold more that waits for its connections.
    const pool = openPool(this.#url, { max: 1, name: 'laneway-watch', pause: 0 })
    let told = false
    for (let pause = firstPauseMs; !this.#closed; pause = Math.min(2 * pause, maxPauseMs)) {
      const reason = await absence(pool)
      if (reason === undefined) break
      this.#reason = reason
      if (!told) onAway?.(reason)
      told = true
      await Bun.sleep(pause)
    }
    void pool.end({ timeout: 1 })
    if (!this.#closed) this.#open(told ? onBack : undefined)
  }

  #open(onBack: Patience['onBack']): void {
    onBack?.(Math.round(performance.now() - this.#awayAt!))
    this.#awayAt = undefined
    this.#meter.isAway = false
    clearTimeout(this.#deadline)
    const entering = [...this.#waiting]
    this.#waiting.clear()
    for (const { go } of entering) go()
  }
}

/** Why the database is not there; undefined if it is. */
async function absence(pool: Pool): Promise<unknown> {
  try {
    const [row] = await pool<{ standby: boolean }[]>`select pg_is_in_recovery() as standby`
    // A failover left us with the server that may not write any more.
    return row!.standby ? new Error('it is a standby') : undefined
  } catch (error) {
    return isConnectionRefused(error) ? undefined : error
  }
}

/** How often and how long one thing is tried. */
class Tries {
  readonly #waitMs: number
  #since: number | undefined
  #repeats = 0

  constructor(waitMs: number) {
    this.#waitMs = waitMs
  }

  mayRepeat(unsent: boolean): boolean {
    this.#since ??= performance.now()
    if (!unsent && ++this.#repeats > maxRepeats) return false
    return performance.now() - this.#since < this.#waitMs
  }
}

/** Whether a statement that was sent can do no harm when it is sent again. */
function isRead({ string = '', cursorFn, forEachFn }: Statement): boolean {
  if (cursorFn || forEachFn) return false
  return (
    /^[\s(]*(select|with)\b/i.test(string) &&
    !/\b(insert|update|delete|merge|into|laneway_\w+)\b/i.test(string)
  )
}
