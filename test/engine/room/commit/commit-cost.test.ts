import { expect, test } from 'bun:test'
import { CommitCost } from '#engine/room/commit/commit-cost.ts'

/** Commits of these sizes, over and over, of a database that takes `fixed + each * events`. */
function learn(cost: CommitCost, sizes: readonly number[], fixed: number, each: number): void {
  for (let round = 0; round < 60; round++)
    for (const size of sizes) cost.learn(size, fixed + each * size)
}

test('what a transaction costs is told apart from what each event costs', () => {
  const cost = new CommitCost()
  learn(cost, [3, 40, 11, 90], 4, 0.05)
  expect(cost.perEvent).toBeCloseTo(0.05, 3)
  expect(cost.fixed).toBeCloseTo(4, 1)
  expect(cost.eventsFor(5)).toBeGreaterThan(95)
  expect(cost.eventsFor(5)).toBeLessThan(105)
})

test('small batches do not make an event look dear', () => {
  const cost = new CommitCost()
  learn(cost, [8, 12, 10], 6, 0.05)
  // By the quotient an event would take 0.65 ms, and a batch of 5 ms hold seven.
  expect(cost.eventsFor(5)).toBeGreaterThan(80)
})

test('batches of one size leave what was thought before', () => {
  const cost = new CommitCost()
  learn(cost, [50], 3, 0.08)
  expect(cost.perEvent).toBeCloseTo(0.06, 6)
  expect(cost.fixed + 50 * cost.perEvent).toBeCloseTo(7, 6)
})

test('a database that becomes slower is noticed, and one that becomes faster too', () => {
  const cost = new CommitCost()
  learn(cost, [10, 60], 2, 0.05)
  learn(cost, [10, 60], 2, 0.8)
  expect(cost.perEvent).toBeCloseTo(0.8, 2)
  learn(cost, [10, 60], 2, 0.05)
  expect(cost.perEvent).toBeCloseTo(0.05, 2)
})

test('nonsense, such as big batches that were faster than small ones, keeps numbers within reason', () => {
  const cost = new CommitCost()
  for (let round = 0; round < 60; round++) {
    cost.learn(10, 90)
    cost.learn(100, 1)
  }
  expect(cost.perEvent).toBe(0.01)
  expect(cost.eventsFor(5)).toBe(500)
  for (let round = 0; round < 60; round++) {
    cost.learn(100, 1)
    cost.learn(110, 5_000)
  }
  // No event costs more than all of its commit.
  expect(cost.perEvent).toBeLessThan(5_000 / 100)
})
