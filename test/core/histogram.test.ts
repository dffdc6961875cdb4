import { expect, test } from 'bun:test'
import { Histogram } from '#core/histogram.ts'

test('a value counts in the bucket of the least bound that it is not above', () => {
  const histogram = new Histogram([1, 10])
  for (const value of [0, 1, 1.5, 10, 10.1, 1000]) histogram.add(value)
  expect(histogram.read()).toEqual({ bounds: [1, 10], counts: [2, 2, 2], sum: 1022.6 })
})

test('milliseconds are read as seconds, with bounds that are written short', () => {
  const histogram = new Histogram([0.1, 2.5, 250])
  histogram.add(2)
  expect(histogram.seconds()).toEqual({
    bounds: [0.0001, 0.0025, 0.25],
    counts: [0, 1, 0, 0],
    sum: 0.002,
  })
})

test('what was read does not change with what comes later', () => {
  const histogram = new Histogram([1])
  const before = histogram.read()
  histogram.add(0.5)
  expect([before.counts, histogram.read().counts]).toEqual([
    [0, 0],
    [1, 0],
  ])
})
