/**
 * Work that takes turns: a generator that yields at bounded intervals, and returns its result. Whoever
 * drives it decides at each yield whether to go on or to let another room work first.
 */
export type Steps<T> = Generator<undefined, T, undefined>

/** Runs some work to its end without letting go. */
export function run<T>(steps: Steps<T>): T {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

const sortedAtOnce = 1024

/** Sorts in place, yielding between runs that are short enough to be sorted at once. */
export function* sortInSteps<T>(list: T[], compare: (a: T, b: T) => number): Steps<T[]> {
  if (list.length <= sortedAtOnce) return list.sort(compare)
  let runs: T[][] = []
  for (let from = 0; from < list.length; from += sortedAtOnce) {
    runs.push(list.slice(from, from + sortedAtOnce).sort(compare))
    yield
  }
  while (runs.length > 1) {
    const merged: T[][] = []
    for (let index = 0; index < runs.length; index += 2)
      merged.push(yield* merge(runs[index]!, runs[index + 1] ?? [], compare))
    runs = merged
  }
  return runs[0] ?? []
}

function* merge<T>(a: T[], b: T[], compare: (a: T, b: T) => number): Steps<T[]> {
  const merged: T[] = []
  let left = 0
  let right = 0
  while (left < a.length || right < b.length) {
    const fromLeft = right >= b.length || (left < a.length && compare(a[left]!, b[right]!) <= 0)
    merged.push(fromLeft ? a[left++]! : b[right++]!)
    if (merged.length % sortedAtOnce === 0) yield
  }
  return merged
}
