import type { Steps } from '#core/state-res/steps.ts'

/**
 * Work of a lane: a generator that yields nothing where another lane may go first, and a promise
 * where it waits for something. Whoever drives it measures what runs between two yields.
 */
export type Task<T> = Generator<Promise<void> | undefined, T, undefined>

/** Waits for a promise without holding the turn: `const rows = yield* wait(load())`. */
export function* wait<T>(promise: Promise<T>): Task<T> {
  let outcome: { value: T } | { error: unknown } | undefined
  yield promise.then(
    (value) => {
      outcome = { value }
    },
    (error: unknown) => {
      outcome = { error }
    },
  )
  if (outcome === undefined) throw new Error('a task went on before what it waits for')
  if ('error' in outcome) throw outcome.error
  return outcome.value
}

/** Work of the core within a task. */
export function* steps<T>(work: Steps<T>): Task<T> {
  for (;;) {
    const { done, value } = work.next()
    if (done) return value
    yield
  }
}
