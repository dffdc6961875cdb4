import { Histogram } from '#core/histogram.ts'
import type { Sample } from '#engine/worker/measured.ts'
import { StatementMeter } from '#store/statement-meter.ts'

const everyMs = 100

/** What every thread of the server measures: how late its event loop is, and how its database answers. */
export class ThreadMeter {
  readonly statements = new StatementMeter()
  readonly #lag = new Histogram()
  readonly #timer: ReturnType<typeof setInterval>
  #expected = performance.now() + everyMs

  constructor() {
    this.#timer = setInterval(() => this.#tick(), everyMs)
    this.#timer.unref()
  }

  samples(): Sample[] {
    const { underWay, isAway, failed, times, waits } = this.statements
    return [
      { name: 'event_loop_lag_seconds', value: this.#lag.seconds() },
      { name: 'database_statements_under_way', value: underWay },
      { name: 'database_statements_failed_total', value: failed },
      { name: 'database_statement_seconds', value: times.seconds() },
      { name: 'database_connection_wait_seconds', value: waits.seconds() },
      { name: 'database_away', value: isAway ? 1 : 0 },
    ]
  }

  stop(): void {
    clearInterval(this.#timer)
  }

  /** A loop that was stuck for long counts once for each tick that it missed: as often as whoever came then. */
  #tick(): void {
    const now = performance.now()
    const late = Math.max(0, now - this.#expected)
    for (let missed = late; missed > everyMs; missed -= everyMs) this.#lag.add(missed)
    this.#lag.add(late % everyMs)
    this.#expected = now + everyMs
  }
}
