import { Histogram } from '#core/histogram.ts'

const sizes: readonly number[] = [1, 2, 5, 10, 20, 50, 100, 200, 300, 500]

/** What group commits have done so far. */
export class CommitMeter {
  commits = 0
  events = 0
  failedBatches = 0
  retries = 0
  /** Milliseconds of all commits, those that were tried again included. */
  commitMs = 0
  readonly sizes = new Histogram(sizes)
  /** Milliseconds. */
  readonly times = new Histogram()

  /** So many events went into one that took so long. */
  took(events: number, ms: number): void {
    this.commitMs += ms
    this.sizes.add(events)
    this.times.add(ms)
  }
}
