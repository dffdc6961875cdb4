import type { Sql } from '#store/db.ts'
import * as toDevice from '#store/user/to-device.ts'

const hour = 3_600_000
/** Longer than any server goes on sending what was not answered. */
const keepMs = 30 * 24 * hour
const everyMs = hour
const batchSize = 5000
/** Between batches, so that others come first. */
const pauseMs = 100

export type OldClaimsOptions = {
  sql: Sql
  clock: () => number
  onFault: (error: unknown) => void
}

/** Drops, every hour, what tells replays of to-device messages that will not come any more. */
export class OldClaims {
  readonly #options: OldClaimsOptions
  #timer: ReturnType<typeof setTimeout> | undefined
  #running: Promise<void> | undefined
  #closed = false

  constructor(options: OldClaimsOptions) {
    this.#options = options
    this.#schedule()
  }

  /** Ends after the batch that is being dropped. */
  async close(): Promise<void> {
    this.#closed = true
    clearTimeout(this.#timer)
    await this.#running
  }

  /** Drops everything that is old now. */
  async drop(): Promise<void> {
    const { sql, clock } = this.#options
    const before = clock() - keepMs
    while (!this.#closed && (await toDevice.dropClaims(sql, before, batchSize)) === batchSize)
      await Bun.sleep(pauseMs)
  }

  #schedule(): void {
    this.#timer = setTimeout(() => {
      this.#running = this.drop()
        .catch(this.#options.onFault)
        .finally(() => {
          if (!this.#closed) this.#schedule()
        })
    }, everyMs)
    this.#timer.unref()
  }
}
