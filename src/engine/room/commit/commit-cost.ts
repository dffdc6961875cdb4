/** How much an older commit counts for each one that came after it. */
const decay = 0.95
/** Batches of one size say nothing of what one event costs: then what was thought before counts. */
const prior = 200
/** No event costs less than this, in milliseconds, whatever was measured. */
const leastPerEvent = 0.01

/**
 * What commits take, learned from the last ones: so much for the transaction itself, and so much for
 * each event in it. The two are told apart by a line through commits of different sizes; their plain
 * quotient would call events dear where only batches are small, and keep batches small for ever.
 */
export class CommitCost {
  /** Milliseconds that one more event takes. */
  perEvent = 0.06
  /** Milliseconds that a commit takes before its first event. */
  fixed = 2
  #n = 0
  #x = 0
  #y = 0
  #xx = 0
  #xy = 0

  learn(events: number, ms: number): void {
    this.#n = decay * this.#n + 1
    this.#x = decay * this.#x + events
    this.#y = decay * this.#y + ms
    this.#xx = decay * this.#xx + events * events
    this.#xy = decay * this.#xy + events * ms
    const x = this.#x / this.#n
    const y = this.#y / this.#n
    const spread = this.#xx - this.#x * x
    const together = this.#xy - this.#x * y
    const slope = (together + prior * this.perEvent) / (spread + prior)
    this.perEvent = Math.max(leastPerEvent, Math.min(slope, y / x))
    this.fixed = y - this.perEvent * x
  }

  /** How many events cost so much beside what the transaction itself does. */
  eventsFor(ms: number): number {
    return Math.floor(ms / this.perEvent)
  }
}
