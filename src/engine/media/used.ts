import type { Pool } from '#store/db.ts'
import * as mediaRows from '#store/media/media.ts'

const everyMs = 60_000
const maxNoted = 10_000

/** Notes which media of other servers is in use, many at a time: it keeps longer. */
export class Used {
  readonly #sql: Pool
  readonly #clock: () => number
  readonly #onFault: (error: unknown) => void
  readonly #timer: ReturnType<typeof setInterval>
  #noted = new Map<string, mediaRows.MediaKey>()

  constructor(sql: Pool, clock: () => number, onFault: (error: unknown) => void) {
    this.#sql = sql
    this.#clock = clock
    this.#onFault = onFault
    this.#timer = setInterval(() => void this.flush(), everyMs)
    this.#timer.unref()
  }

  note({ serverName, mediaId }: mediaRows.MediaKey): void {
    // What is asked for again will be noted the next time.
    if (this.#noted.size < maxNoted)
      this.#noted.set(`${serverName}/${mediaId}`, { serverName, mediaId })
  }

  async flush(): Promise<void> {
    if (this.#noted.size === 0) return
    const keys = [...this.#noted.values()]
    this.#noted = new Map()
    await mediaRows.touch(this.#sql, keys, this.#clock()).catch(this.#onFault)
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer)
    await this.flush()
  }
}
