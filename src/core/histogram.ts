/** How many values there were up to each bound, and beyond the last; and their sum. */
export type Buckets = { bounds: readonly number[]; counts: number[]; sum: number }

/** Milliseconds: from what is not felt to what is given up. */
export const timeBounds: readonly number[] = [
  0.1, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 30_000,
]

/** Counts values by size. Adding one costs a few comparisons and no memory. */
export class Histogram {
  readonly #bounds: readonly number[]
  readonly #counts: Float64Array
  #sum = 0

  /** The bounds ascend; each belongs to what is below it. */
  constructor(bounds: readonly number[] = timeBounds) {
    this.#bounds = bounds
    this.#counts = new Float64Array(bounds.length + 1)
  }

  add(value: number): void {
    let at = 0
    while (at < this.#bounds.length && value > this.#bounds[at]!) at++
    this.#counts[at]!++
    this.#sum += value
  }

  /** What was counted so far, in another unit if told: its bounds and its sum times `scale`. */
  read(scale = 1): Buckets {
    return {
      bounds: this.#bounds.map((bound) => scaled(bound, scale)),
      counts: [...this.#counts],
      sum: this.#sum * scale,
    }
  }

  /** Milliseconds as seconds. */
  seconds(): Buckets {
    return this.read(1 / 1000)
  }
}

/** Without the digits that a division brings: `0.1` is a better name of a bucket than `0.10000000000000001`. */
const scaled = (bound: number, scale: number): number => Number((bound * scale).toPrecision(12))
