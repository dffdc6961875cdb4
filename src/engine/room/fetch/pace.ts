/** How long the event loop may wait for its turn. */
const sliceMs = 4

/**
 * Lets the lanes of the thread take their turns in between, in a loop over many events:
 * `if (pace.due) await pace.rest()`.
 */
export class Pace {
  #since = performance.now()

  get due(): boolean {
    return performance.now() - this.#since >= sliceMs
  }

  async rest(): Promise<void> {
    await new Promise<void>((resolve) => setImmediate(resolve))
    this.#since = performance.now()
  }
}
