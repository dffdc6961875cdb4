import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'
import type { Log } from '#src/log.ts'
import type { Pool } from '#store/db.ts'
import * as destinations from '#store/federation/destinations.ts'

export type BackoffOptions = {
  sql: Pool
  log: Log
  clock: () => number
  /** The first wait after a failure; it doubles up to the last. */
  firstMs: number
  longestMs: number
  random?: () => number
}

type State = {
  failingSince: number | null
  failures: number
  retryAt: number
  failedAt: number
  lastSuccess: number | null
}

const hour = 3_600_000
const maxServers = 50_000
/** A server that answered within this time is not doubted. */
const trustMs = 24 * hour

/**
 * Which servers failed, and until when they are left alone. It is durable: what is written trails
 * what is known by one statement. One answer, or one good request of that server, clears it.
 */
export class Backoff {
  readonly #options: BackoffOptions
  readonly #states = new LRUCache<string, State>(atMost(maxServers))
  readonly #dirty = new Set<string>()
  readonly #onCleared: ((server: string) => void)[] = []
  #writing: Promise<void> | undefined

  constructor(options: BackoffOptions) {
    this.#options = options
  }

  /** Reads what was known when the server stopped. */
  async load(): Promise<void> {
    const { sql, clock } = this.#options
    await destinations.removeStale(sql, clock() - 7 * 24 * hour)
    const rows = await destinations.list(sql, maxServers)
    // The most important come first, and the cache drops the oldest entry.
    for (const row of rows.reverse())
      this.#states.set(row.server, {
        failingSince: row.failing_since,
        failures: row.failures,
        retryAt: row.retry_at,
        failedAt: 0,
        lastSuccess: row.last_success,
      })
  }

  /** When the server may be asked again; undefined: now. */
  retryAt(server: string): number | undefined {
    const state = this.#states.get(server)
    return state && state.retryAt > this.#options.clock() ? state.retryAt : undefined
  }

  /** Since when no request was answered. */
  failingSince(server: string): number | undefined {
    return this.#states.get(server)?.failingSince ?? undefined
  }

  /** How many servers are left alone for now. */
  count(): number {
    const now = this.#options.clock()
    let count = 0
    for (const { retryAt } of this.#states.values()) if (retryAt > now) count++
    return count
  }

  /** Whether a request may well hang until its deadline. */
  doubtful(server: string): boolean {
    const state = this.#states.get(server)
    if (!state || state.failures > 0 || state.lastSuccess === null) return true
    return state.lastSuccess < this.#options.clock() - trustMs
  }

  onCleared(listener: (server: string) => void): void {
    this.#onCleared.push(listener)
  }

  /** A request that was begun at `startedAt` was not answered. Those that hung side by side count once. */
  failed(server: string, startedAt: number): void {
    const { clock, firstMs, longestMs, random = Math.random } = this.#options
    const now = clock()
    const before = this.#states.get(server)
    if (before && before.failures > 0 && before.failedAt >= startedAt) return
    const failures = (before?.failures ?? 0) + 1
    const wait = Math.min(longestMs, firstMs * 2 ** Math.min(failures - 1, 40))
    this.#states.set(server, {
      failingSince: before?.failingSince ?? now,
      failures,
      // Servers that fell together are not asked together.
      retryAt: now + Math.ceil(wait * (0.8 + 0.2 * random())),
      failedAt: now,
      lastSuccess: before?.lastSuccess ?? null,
    })
    this.#write(server)
  }

  /**
   * The server made a good request, so it is up, and is tried again soon; that it can be reached too,
   * only an answer shows.
   */
  heardFrom(server: string): void {
    const state = this.#states.get(server)
    if (!state || state.failures === 0) return
    const soon = state.failedAt + this.#options.firstMs
    if (state.retryAt <= soon) return
    this.#states.set(server, { ...state, retryAt: soon })
    this.#write(server)
    for (const listener of this.#onCleared) listener(server)
  }

  /** The server answered. */
  succeeded(server: string): void {
    const now = this.#options.clock()
    const before = this.#states.get(server)
    const failing = before !== undefined && before.failures > 0
    if (!failing && before?.lastSuccess && before.lastSuccess > now - hour) return
    this.#states.set(server, {
      failingSince: null,
      failures: 0,
      retryAt: 0,
      failedAt: 0,
      lastSuccess: now,
    })
    this.#write(server)
    if (failing) for (const listener of this.#onCleared) listener(server)
  }

  /** Waits until all that is known is written. */
  async flush(): Promise<void> {
    while (this.#writing) await this.#writing
  }

  #write(server: string): void {
    this.#dirty.add(server)
    this.#writing ??= this.#writeAll().finally(() => (this.#writing = undefined))
  }

  async #writeAll(): Promise<void> {
    while (this.#dirty.size > 0) {
      const servers = [...this.#dirty]
      this.#dirty.clear()
      const rows = servers.flatMap((server) => {
        const state = this.#states.get(server)
        return state ? [rowOf(server, state)] : []
      })
      try {
        await destinations.put(this.#options.sql, rows)
      } catch (error) {
        // What is lost is a wait after a restart; the next change of the server writes it again.
        this.#options.log.warn({ err: error }, 'the back-off of other servers was not written')
      }
    }
  }
}

const rowOf = (server: string, state: State): destinations.Destination => ({
  server,
  failing_since: state.failingSince,
  failures: state.failures,
  retry_at: state.retryAt,
  last_success: state.lastSuccess,
})
