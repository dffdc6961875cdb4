import { limitExceeded } from '#core/error.ts'

/** What shares a budget: per user, or per address where nobody is logged in. */
export type LimitClass =
  /** Logging in, and whatever else tries a password. */
  | 'login'
  | 'registration'
  /** Messages, state, redactions. */
  | 'message'
  /** Joining, knocking and making rooms: each may cost another server's time. */
  | 'join'
  | 'invite'
  /** What asks other servers or searches: directories, profiles, history. */
  | 'lookup'
  /** Other changes: account data, filters, profiles. */
  | 'change'
  | 'upload'
  /** Downloads and thumbnails; a client wants many when it starts. */
  | 'media'
  /** What another server looks up: events, users, keys, directories. */
  | 'peer'
  /** What costs more of its kind: states, auth chains, history, hierarchies, joins. */
  | 'peer_history'

/** Calls per second in the long run, and how many may come at once. */
export type Budget = { perSecond: number; burst: number }

export const defaultBudgets: Readonly<Record<LimitClass, Budget>> = {
  login: { perSecond: 0.2, burst: 10 },
  registration: { perSecond: 0.1, burst: 5 },
  message: { perSecond: 5, burst: 50 },
  join: { perSecond: 0.5, burst: 20 },
  invite: { perSecond: 1, burst: 30 },
  lookup: { perSecond: 10, burst: 100 },
  change: { perSecond: 5, burst: 100 },
  upload: { perSecond: 2, burst: 50 },
  media: { perSecond: 50, burst: 1000 },
  peer: { perSecond: 100, burst: 2000 },
  peer_history: { perSecond: 20, burst: 300 },
}

/** Calls of one server under way, of those that may read whole rooms. */
export const maxAtOnce = 8

/** When whoever has too many calls under way may try again. */
const tryAgainMs = 1_000

type Bucket = { tokens: number; at: number }

/**
 * Token buckets, one per class and key. A bucket that is full says nothing, so those of callers who
 * are gone are dropped, oldest first, when there are too many.
 */
export class RateLimits {
  readonly #budgets: Readonly<Record<LimitClass, Budget>> | undefined
  readonly #clock: () => number
  readonly #maxKeys: number
  readonly #buckets = new Map<string, Bucket>()
  /** Calls under way, of those that are counted. */
  readonly #inside = new Map<string, number>()

  /** Without budgets nothing is limited. */
  constructor(
    budgets: Readonly<Record<LimitClass, Budget>> | undefined,
    clock: () => number,
    maxKeys = 100_000,
  ) {
    this.#budgets = budgets
    this.#clock = clock
    this.#maxKeys = maxKeys
  }

  get size(): number {
    return this.#buckets.size
  }

  /**
   * Takes one call from the budget of `key`, which may be its own and no other's, or throws
   * `M_LIMIT_EXCEEDED` with the time to wait.
   */
  take(limit: LimitClass, key: string, own?: Budget): void {
    if (!this.#budgets) return
    const { perSecond, burst } = own ?? this.#budgets[limit]
    const id = `${limit} ${key}`
    const now = this.#clock()
    const bucket = this.#buckets.get(id)
    if (!bucket) {
      this.#makeRoom()
      this.#buckets.set(id, { tokens: burst - 1, at: now })
      return
    }
    // A clock that is set back must not lock anybody out.
    const gained = Math.max(0, ((now - bucket.at) / 1000) * perSecond)
    bucket.tokens = Math.min(burst, bucket.tokens + gained)
    bucket.at = now
    if (bucket.tokens < 1) throw limitExceeded(Math.ceil(((1 - bucket.tokens) / perSecond) * 1000))
    bucket.tokens -= 1
    // Callers that are still there go to the young end of the map.
    this.#buckets.delete(id)
    this.#buckets.set(id, bucket)
  }

  /**
   * Begins a call of which `max` may be under way for `key`, or throws `M_LIMIT_EXCEEDED`; what is given
   * back ends it.
   */
  enter(key: string, max: number): () => void {
    if (!this.#budgets) return () => {}
    const inside = this.#inside.get(key) ?? 0
    if (inside >= max) throw limitExceeded(tryAgainMs)
    this.#inside.set(key, inside + 1)
    return () => {
      const left = this.#inside.get(key)! - 1
      if (left > 0) this.#inside.set(key, left)
      else this.#inside.delete(key)
    }
  }

  #makeRoom(): void {
    if (this.#buckets.size < this.#maxKeys) return
    const [oldest] = this.#buckets.keys()
    this.#buckets.delete(oldest!)
  }
}
