import { expect, test } from 'bun:test'
import { MatrixError } from '#core/error.ts'
import { type Budget, type LimitClass, RateLimits, defaultBudgets } from '#api/http/rate-limit.ts'

const budgets: Record<LimitClass, Budget> = {
  ...defaultBudgets,
  login: { perSecond: 0.5, burst: 2 },
}

/** How long a caller is told to wait; 0: the call was let through. */
function wait(limits: RateLimits, key: string, limit: LimitClass = 'login'): number {
  try {
    limits.take(limit, key)
    return 0
  } catch (error) {
    if (!(error instanceof MatrixError)) throw error
    expect(error).toMatchObject({ status: 429, errcode: 'M_LIMIT_EXCEEDED' })
    return error.extra['retry_after_ms'] as number
  }
}

test('a burst goes through, then as much as time gives back', () => {
  let now = 0
  const limits = new RateLimits(budgets, () => now)
  expect([wait(limits, 'a'), wait(limits, 'a'), wait(limits, 'a')]).toEqual([0, 0, 2000])
  now += 1500
  expect(wait(limits, 'a')).toBe(500)
  now += 500
  expect([wait(limits, 'a'), wait(limits, 'a')]).toEqual([0, 2000])
  now += 3_600_000
  expect([wait(limits, 'a'), wait(limits, 'a'), wait(limits, 'a')]).toEqual([0, 0, 2000])
})

test('keys and classes do not share a budget', () => {
  const limits = new RateLimits(budgets, () => 0)
  for (let i = 0; i < 2; i++) expect(wait(limits, 'a')).toBe(0)
  expect(wait(limits, 'a')).toBeGreaterThan(0)
  expect(wait(limits, 'b')).toBe(0)
  expect(wait(limits, 'a', 'message')).toBe(0)
})

test('a clock that is set back locks nobody out', () => {
  let now = 1_000_000
  const limits = new RateLimits(budgets, () => now)
  wait(limits, 'a')
  now = 0
  expect(wait(limits, 'a')).toBe(0)
  now += 2000
  expect(wait(limits, 'a')).toBe(0)
})

test('memory is bounded: who has not called for longest is forgotten', () => {
  const limits = new RateLimits(budgets, () => 0, 3)
  for (const key of ['a', 'b', 'c']) expect(wait(limits, key)).toBe(0)
  expect(wait(limits, 'a')).toBe(0)
  expect(wait(limits, 'd')).toBe(0)
  expect(limits.size).toBe(3)
  // b was forgotten, a was not.
  expect(wait(limits, 'a')).toBeGreaterThan(0)
  expect([wait(limits, 'b'), wait(limits, 'b')]).toEqual([0, 0])
})

test('without budgets nothing is limited', () => {
  const limits = new RateLimits(undefined, () => 0)
  for (let i = 0; i < 1000; i++) expect(wait(limits, 'a')).toBe(0)
  expect(limits.size).toBe(0)
})

test('so many calls of one caller may be under way, whatever those of others are', () => {
  const limits = new RateLimits(budgets, () => 0)
  const refusal = () => {
    try {
      limits.enter('a', 2)
      return undefined
    } catch (error) {
      return (error as MatrixError).toJSON()
    }
  }
  const leave = limits.enter('a', 2)
  limits.enter('a', 2)
  expect(refusal()).toMatchObject({ errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 1000 })
  limits.enter('b', 2)
  leave()
  expect(refusal()).toBeUndefined()
  expect(refusal()).toBeDefined()
  // Where nothing is limited, this is not.
  const free = new RateLimits(undefined, () => 0)
  for (let count = 0; count < 10; count++) free.enter('a', 1)
})
