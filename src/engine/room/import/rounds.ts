import type { Parts } from '#engine/room/parts.ts'
import type * as sessions from '#store/import/sessions.ts'

export type RoundsOf = {
  /** Those of which something is to be done, in the order of their keys, behind one of them. */
  find: (after: sessions.Key, limit: number) => Promise<readonly sessions.SessionRow[]>
  /** Does it, or some of it if it is to stop. */
  work: (row: sessions.SessionRow, isStopping: () => boolean) => Promise<void>
  /** What could not be done, for the log. */
  what: string
}

/** Sessions of which something is done at once. */
const atOnce = 4

/**
 * Does what the database says is still to be done of sessions. Nothing of it is in memory only: what fails,
 * or what the server's end breaks off, is found again.
 */
export class Rounds {
  readonly #parts: Parts
  readonly #of: RoundsOf
  readonly #running = new Map<number, Promise<void>>()
  #round: Promise<void> | undefined
  #again = false
  #retry: ReturnType<typeof setTimeout> | undefined
  #stopped = false

  constructor(parts: Parts, of: RoundsOf) {
    this.#parts = parts
    this.#of = of
  }

  /** There may be something to do. */
  wake(): void {
    this.#again = true
    if (this.#stopped) return
    this.#round ??= this.#go().finally(() => {
      this.#round = undefined
    })
  }

  async stop(): Promise<void> {
    this.#stopped = true
    clearTimeout(this.#retry)
    await Promise.all([this.#round, ...this.#running.values()])
  }

  async #go(): Promise<void> {
    try {
      while (this.#again && !this.#stopped) {
        this.#again = false
        await this.#once()
      }
    } catch (error) {
      this.#failed(error)
    }
  }

  async #once(): Promise<void> {
    let after: sessions.Key = { shard: -1, session_nid: 0 }
    for (;;) {
      const rows = await this.#of.find(after, atOnce)
      if (rows.length === 0) return
      for (const row of rows) {
        after = row
        while (this.#running.size >= atOnce) await Promise.race(this.#running.values())
        if (this.#stopped) return
        if (!this.#running.has(row.session_nid)) this.#begin(row)
      }
    }
  }

  #begin(row: sessions.SessionRow): void {
    const running = this.#of
      .work(row, () => this.#stopped)
      .catch((error: unknown) => this.#failed(error))
      .finally(() => this.#running.delete(row.session_nid))
    this.#running.set(row.session_nid, running)
  }

  #failed(error: unknown): void {
    if (this.#stopped) return
    this.#parts.onError(error, this.#of.what)
    clearTimeout(this.#retry)
    this.#retry = setTimeout(() => this.wake(), this.#parts.limits.retryMs)
    this.#retry.unref()
  }
}
