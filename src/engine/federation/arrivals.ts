import { isConnectionLost, isOutOfResources, type Pool } from '#store/db.ts'
import * as inbox from '#store/room/inbox.ts'

/** What is written at once, at most. */
const maxRows = 500
const maxBytes = 4_000_000

/**
 * Writes transactions of other servers into the inbox. Those that come while some are being written go
 * together next: small transactions of many servers cost little more than one of one server.
 */
export class Arrivals {
  readonly #sql: Pool
  readonly #clock: () => number
  #waiting: Arrival[] = []
  #isWriting = false

  constructor(sql: Pool, clock: () => number) {
    this.#sql = sql
    this.#clock = clock
  }

  /** Resolves when the transaction is durable, or was before. The caller bounds how many wait. */
  add(transaction: inbox.NewTransaction): Promise<inbox.Received> {
    const { promise, resolve, reject } = Promise.withResolvers<inbox.Received>()
    this.#waiting.push({ transaction, resolve, reject })
    if (!this.#isWriting) void this.#write()
    return promise
  }

  async #write(): Promise<void> {
    this.#isWriting = true
    while (this.#waiting.length > 0) await this.#receive(this.#take())
    this.#isWriting = false
  }

  /** What came first, of each origin's transactions in their order. */
  #take(): Arrival[] {
    let rows = 0
    let bytes = 0
    const end = this.#waiting.findIndex(({ transaction }, index) => {
      rows += transaction.rows.length
      for (const { json } of transaction.rows) bytes += json.length
      return index > 0 && (rows > maxRows || bytes > maxBytes)
    })
    return this.#waiting.splice(0, end < 0 ? this.#waiting.length : end)
  }

  async #receive(arrivals: readonly Arrival[]): Promise<void> {
    try {
      const transactions = arrivals.map(({ transaction }) => transaction)
      const received = await inbox.receive(this.#sql, transactions, this.#clock())
      for (const [index, { resolve }] of arrivals.entries()) resolve(received[index]!)
    } catch (error) {
      if (arrivals.length > 1 && !isConnectionLost(error) && !isOutOfResources(error))
        // What is wrong with one of them is no matter of the others.
        for (const arrival of arrivals) await this.#receive([arrival])
      else for (const { reject } of arrivals) reject(error)
    }
  }
}

type Arrival = {
  transaction: inbox.NewTransaction
  resolve: (received: inbox.Received) => void
  reject: (error: unknown) => void
}
