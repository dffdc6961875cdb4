import { expect, test } from 'bun:test'
import { Debts } from '#engine/federation/debts.ts'

test('more than there is may be taken once, and is paid before the next time', () => {
  const debts = new Debts(1e-6, 10)
  expect(debts.take('a', 1_000)).toBe(true)
  expect(debts.take('a', 1)).toBe(false)
  expect(debts.waitMs('a')).toBeGreaterThan(900e9)
  expect(debts.take('b', 1)).toBe(true)
})

test('nothing costs nothing, also for a debtor', () => {
  const debts = new Debts(1e-6, 1)
  debts.take('a', 5)
  expect(debts.take('a', 0)).toBe(true)
})

test('what was asked for in vain is no debt', () => {
  const debts = new Debts(1e-6, 1)
  debts.take('a', 5)
  const before = debts.waitMs('a')
  for (let n = 0; n < 10; n++) expect(debts.take('a', 1_000)).toBe(false)
  expect(debts.waitMs('a')).toBeLessThanOrEqual(before)
})
