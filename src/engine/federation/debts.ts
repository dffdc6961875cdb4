import { LRUCache } from 'lru-cache'
import { atMost } from '#core/at-most.ts'

type Bucket = { tokens: number; at: number }

/**
 * Budgets by name in which one may run into debt, and pays it before the next time: what comes at once
 * may be more than a budget ever holds.
 */
export class Debts {
  readonly #perSecond: number
  readonly #atOnce: number
  readonly #buckets = new LRUCache<string, Bucket>(atMost(20_000))

  constructor(perSecond: number, atOnce: number) {
    this.#perSecond = perSecond
    this.#atOnce = atOnce
  }

  /** False if there is a debt; else it may be made. */
  take(name: string, count: number): boolean {
    if (count === 0) return true
    const now = performance.now()
    const tokens = this.#tokensOf(name, now)
    this.#buckets.set(name, { tokens: tokens < 0 ? tokens : tokens - count, at: now })
    return tokens >= 0
  }

  /** After how many milliseconds there is no debt. */
  waitMs(name: string): number {
    const tokens = this.#tokensOf(name, performance.now())
    return Math.max(1, Math.ceil((-tokens / this.#perSecond) * 1000))
  }

  #tokensOf(name: string, now: number): number {
    const bucket = this.#buckets.get(name)
    if (!bucket) return this.#atOnce
    const gained = ((now - bucket.at) / 1000) * this.#perSecond
    return Math.min(this.#atOnce, bucket.tokens + gained)
  }
}
