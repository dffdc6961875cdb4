/**
 * How long a test waits for what must come to be. It is no measure of speed: a machine may be slow, and
 * only what never comes shall fail.
 */
export const patienceMs = 120_000

/** Waits until something is so; one that never is fails the test, and asks no more. */
export async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const givenUp = performance.now() + patienceMs
  while (!(await isSo())) {
    if (performance.now() > givenUp) throw new Error(`It never was so: ${isSo.toString()}`)
    await Bun.sleep(3)
  }
}
