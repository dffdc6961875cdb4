import { expect, test } from 'bun:test'
import { run, sortInSteps } from '#core/state-res/steps.ts'
import { Random } from '#test/differential/random.ts'

test('work runs to its end, and gives its result', () => {
  function* work() {
    yield
    yield
    return 5
  }
  expect(run(work())).toBe(5)
})

test('a list is sorted as by one sort, and lets go in between', () => {
  const random = new Random(3)
  for (const length of [0, 1, 1024, 1025, 5000]) {
    const list = Array.from({ length }, (_, index) => ({ key: random.below(100), index }))
    const compare = (a: { key: number }, b: { key: number }) => a.key - b.key
    const expected = list.toSorted(compare)
    const steps = sortInSteps([...list], compare)
    let turns = 0
    let next = steps.next()
    for (; next.done !== true; next = steps.next()) turns++
    expect(next.value).toEqual(expected)
    expect(turns >= length / 1024 - 1).toBe(true)
  }
})
