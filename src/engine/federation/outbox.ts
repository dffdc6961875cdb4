import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { isObject } from '#core/json.ts'
import type { Backoff } from '#engine/federation/backoff.ts'
import { Budget } from '#engine/federation/budget.ts'
import { ServerSets } from '#engine/federation/server-sets.ts'
import { bodyOf, firstPlace, nextTransaction, type Place } from '#engine/federation/transaction.ts'
import type { Federation } from '#engine/worker/protocol.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as outboxTxns from '#store/federation/outbox-txns.ts'

export type OutboxOptions = {
  serverName: string
  sql: Pool
  log: Log
  clock: () => number
  federation: Federation
  backoff: Backoff
  /** How long one transaction may take. */
  deadlineMs: number
  /** The longest wait after a refusal. */
  longestMs: number
  /** Servers with a transaction in flight at once. */
  inFlight?: number
}

/** What is known of one server while something waits for it. */
type Queue = {
  running: boolean
  /** Something came while a transaction was in flight. */
  again: boolean
  timer: ReturnType<typeof setTimeout> | undefined
  /** EDUs that may be lost, by their key. */
  ephemeral: Map<string, string>
  place: Place
  /** Refusals in a row: answers that are no failure of the server, but no 200 either. */
  refusals: number
  /** The server was away: it is brought up to date, not told everything. */
  catchingUp: boolean
  /** Whether a transaction of an earlier run may wait to be repeated. */
  mayHaveOld: boolean
}

type Outcome = 'sent' | { retryInMs: number } | 'wait'

const maxEphemeral = 100
const firstRefusalMs = 1_000
const unending = new AbortController().signal

/**
 * Sends what waits for other servers: one transaction in flight for each, the same again until the
 * server has it. A server that fails costs one timer.
 *
 * Spec: server-server-api/#transactions
 */
export class Outbox {
  readonly #options: OutboxOptions
  readonly #queues = new Map<string, Queue>()
  readonly #turns: Budget
  readonly #sets = new ServerSets()
  #running = new Set<Promise<void>>()
  #stopped = false
  #sent = 0

  constructor(options: OutboxOptions) {
    this.#options = options
    const total = options.inFlight ?? 128
    this.#turns = new Budget({
      perServer: 1,
      waitingPerServer: 1,
      total,
      waitingTotal: Number.MAX_SAFE_INTEGER,
    })
    options.backoff.onCleared((server) => this.#cleared(server))
  }

  get counters(): { [name: string]: number } {
    return { outbox_queues: this.#queues.size, outbox_transactions_sent: this.#sent }
  }

  /** Servers for which something waits, by what it waits for. */
  get states(): { sending: number; resting: number; ephemeral: number } {
    let sending = 0
    let resting = 0
    let ephemeral = 0
    for (const queue of this.#queues.values()) {
      if (queue.running) sending++
      if (queue.timer !== undefined) resting++
      ephemeral += queue.ephemeral.size
    }
    return { sending, resting, ephemeral }
  }

  /** Something new waits for these servers, or may. */
  wake(servers: Iterable<string>): void {
    for (const server of servers) this.#wake(server, this.#queueOf(server))
  }

  /** Sends an EDU that may be lost; a newer one of the same key takes the place of one still waiting. */
  sendEphemeral(servers: Iterable<string>, key: string, edu: string): void {
    const { backoff, serverName } = this.#options
    for (const server of servers) {
      // Nobody wants to know who typed before the server went down.
      if (server === serverName || backoff.retryAt(server) !== undefined) continue
      const queue = this.#queueOf(server)
      queue.ephemeral.delete(key)
      queue.ephemeral.set(key, edu)
      if (queue.ephemeral.size > maxEphemeral) {
        const [oldest] = queue.ephemeral.keys()
        queue.ephemeral.delete(oldest!)
      }
      this.#wake(server, queue)
    }
  }

  /** Begins nothing more. What is in flight is waited for if `deadlineMs` allows it. */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopped = true
    for (const queue of this.#queues.values()) clearTimeout(queue.timer)
    const { promise: late, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, deadlineMs)
    await Promise.race([Promise.all(this.#running), late])
    clearTimeout(timer)
  }

  #queueOf(server: string): Queue {
    let queue = this.#queues.get(server)
    if (!queue) {
      queue = {
        running: false,
        again: false,
        timer: undefined,
        ephemeral: new Map(),
        place: firstPlace,
        refusals: 0,
        catchingUp: false,
        mayHaveOld: true,
      }
      this.#queues.set(server, queue)
    }
    return queue
  }

  #wake(server: string, queue: Queue): void {
    if (this.#stopped || queue.timer !== undefined) return
    if (queue.running) {
      queue.again = true
      return
    }
    const retryAt = this.#options.backoff.retryAt(server)
    if (retryAt !== undefined) {
      queue.catchingUp = true
      this.#later(server, queue, retryAt - this.#options.clock())
      return
    }
    queue.running = true
    const run = this.#run(server, queue).finally(() => this.#running.delete(run))
    this.#running.add(run)
  }

  #later(server: string, queue: Queue, ms: number): void {
    if (this.#stopped) return
    const wait = Math.min(Math.max(ms, 10), 2 ** 31 - 1)
    queue.timer = setTimeout(() => {
      queue.timer = undefined
      this.#wake(server, queue)
    }, wait)
    queue.timer.unref()
  }

  #cleared(server: string): void {
    const queue = this.#queues.get(server)
    if (!queue) return
    // A refusal has a wait of its own, which a request of that server does not cut short.
    if (queue.timer !== undefined && queue.refusals > 0) return
    clearTimeout(queue.timer)
    queue.timer = undefined
    this.#wake(server, queue)
  }

  async #run(server: string, queue: Queue): Promise<void> {
    const { backoff, log } = this.#options
    let retryInMs: number | undefined
    try {
      queue.catchingUp ||= backoff.failingSince(server) !== undefined
      for (;;) {
        queue.again = false
        const outcome = await this.#turn(server, queue)
        if (outcome === 'sent' || (outcome === 'wait' && queue.again)) {
          if (!this.#stopped) continue
          break
        }
        if (outcome === 'wait') queue.catchingUp = false
        else retryInMs = outcome.retryInMs
        break
      }
    } catch (error) {
      // The database is away: the queue is in it, and waits there.
      log.warn({ server, err: error }, 'a transaction was not put together')
      retryInMs = 1_000
    } finally {
      queue.running = false
    }
    if (retryInMs !== undefined) this.#later(server, queue, retryInMs)
    else if (queue.ephemeral.size === 0) this.#queues.delete(server)
  }

  /** One transaction: put together, made durable, sent, and taken off the queue. */
  async #turn(server: string, queue: Queue): Promise<Outcome> {
    const { sql, backoff, serverName } = this.#options
    const release = await this.#turns.acquire(server, backoff.doubtful(server), unending)
    try {
      if (this.#stopped) return 'wait'
      const txn = await this.#nextFor(server, queue)
      if (!txn) return 'wait'
      const body = await bodyOf(sql, serverName, txn)
      const outcome = await this.#send(server, queue, txn.txn_id, body)
      if (outcome !== 'sent') {
        queue.mayHaveOld = true
        return outcome
      }
      queue.refusals = 0
      if (!isEphemeral(txn)) await sql.begin((transaction) => outboxTxns.finish(transaction, txn))
      queue.mayHaveOld = false
      this.#sent++
      backoff.succeeded(server)
      return 'sent'
    } finally {
      release()
    }
  }

  async #nextFor(server: string, queue: Queue): Promise<outboxTxns.OutboxTxn | undefined> {
    const { sql, clock } = this.#options
    if (queue.mayHaveOld) {
      const old = await outboxTxns.get(sql, server)
      if (old) return old
    }
    const keys = [...queue.ephemeral.keys()]
    const next = await nextTransaction(
      sql,
      this.#sets,
      server,
      [...queue.ephemeral.values()],
      queue.place,
      queue.catchingUp,
      clock(),
    )
    queue.place = next.place
    for (const key of keys.slice(0, next.ephemeral)) queue.ephemeral.delete(key)
    return next.txn
  }

  async #send(server: string, queue: Queue, txnId: string, body: string): Promise<Outcome> {
    const { federation, deadlineMs, backoff, clock, log } = this.#options
    try {
      const answer = await federation.call('request', {
        destination: server,
        method: 'PUT',
        uri: `/_matrix/federation/v1/send/${encodeURIComponent(txnId)}`,
        body,
        deadlineMs,
        maxBytes: 1024 * 1024,
      })
      const { status } = answer
      if (status === 200) return 'sent'
      const retryAt = backoff.retryAt(server)
      if (status >= 500 && retryAt !== undefined) {
        queue.catchingUp = true
        return { retryInMs: retryAt - clock() }
      }
      if (status >= 400 && status < 500 && ![401, 404, 408, 429].includes(status)) {
        // It will say the same again: what follows must not wait for it for ever.
        log.warn(
          { server, txnId, status, answer: answer.body.slice(0, 500) },
          'a server refused a transaction',
        )
        return 'sent'
      }
      return { retryInMs: this.#refused(queue, answer.body) }
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      log.debug({ server, reason: error.message }, 'a server could not be reached')
      const retryAt = backoff.retryAt(server)
      if (retryAt === undefined) return { retryInMs: this.#refused(queue, '') }
      queue.catchingUp = true
      return { retryInMs: retryAt - clock() }
    }
  }

  /** How long to wait after an answer that asks for patience. */
  #refused(queue: Queue, body: string): number {
    const { longestMs } = this.#options
    const json = parseJson(body)
    const asked = isObject(json) ? json['retry_after_ms'] : undefined
    const wait = Math.min(longestMs, firstRefusalMs * 2 ** Math.min(queue.refusals, 30))
    queue.refusals++
    return typeof asked === 'number' && asked > 0 ? Math.min(longestMs, Math.max(asked, 100)) : wait
  }
}

const isEphemeral = (txn: outboxTxns.OutboxTxn): boolean =>
  txn.event_nids.length === 0 && txn.edu_ids.length === 0
