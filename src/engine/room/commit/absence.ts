import { unavailable } from '#core/error.ts'

/** Milliseconds until the next try, when nothing is held that is tried again by itself. */
const trialMs = 2_000

/** For how long, and why, the database has not taken what was to be committed. */
export class Absence {
  #since: number | undefined
  #lack: Error | undefined
  /** When new work may try; never, while a batch is held and tried again. */
  #trialAt = Infinity

  get ms(): number {
    return this.#since === undefined ? 0 : performance.now() - this.#since
  }

  /** It went away, or it is there and lacks disk, memory or connections. */
  begin(lack?: Error): void {
    this.#since ??= performance.now()
    this.#lack = lack
    this.#trialAt = Infinity
  }

  /** Nothing is held any more: only new work can find out when it is over. */
  letTry(): void {
    this.#trialAt = performance.now() + trialMs
  }

  end(): void {
    this.#since = this.#lack = undefined
    this.#trialAt = Infinity
  }

  /** Why new work is refused after so long; undefined if it may try. */
  refusal(afterMs: number): Error | undefined {
    if (this.ms <= afterMs || performance.now() >= this.#trialAt) return undefined
    return this.#lack ?? unavailable('The database is away', 2_000)
  }
}
