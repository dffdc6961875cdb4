import type { Pool } from '#store/db.ts'
import * as queue from '#store/push/queue.ts'
import * as pushers from '#store/user/pushers.ts'

/** A pusher has told what it had up to an item, and with it perhaps a count. */
export type Done = { shard: number; pusherId: number; queueNo: number; unread?: number }

type Waiting = { done: Done; resolve: () => void; reject: (error: unknown) => void }

/** Takes what was told from the queue: what comes while a commit is under way goes into the next one. */
export class DoneItems {
  readonly #sql: Pool
  #waiting: Waiting[] = []
  #writing = false

  constructor(sql: Pool) {
    this.#sql = sql
  }

  /** Resolves after the commit. */
  note(done: Done): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#waiting.push({ done, resolve, reject })
    if (!this.#writing) void this.#write()
    return promise
  }

  async #write(): Promise<void> {
    this.#writing = true
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      const told = batch.flatMap(({ done: { pusherId, unread } }) =>
        unread === undefined ? [] : [{ pusherId, unread }],
      )
      try {
        await this.#sql.begin(async (sql) => {
          await Promise.all([
            queue.dropUpTo(
              sql,
              batch.map(({ done }) => done),
            ),
            told.length > 0 ? pushers.noteTold(sql, told) : undefined,
          ])
        })
        for (const { resolve } of batch) resolve()
      } catch (error) {
        for (const { reject } of batch) reject(error)
      }
    }
    this.#writing = false
  }
}
