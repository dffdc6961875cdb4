import { expect, test } from 'bun:test'
import { Names } from '#engine/room/import/names.ts'

test('names keep their meaning for a while, and are known for ever', () => {
  const names = new Names<number>()
  const count = 300_000
  for (let n = 0; n < count; n++) names.set(`name ${n}`, n)
  expect(names.get(`name ${count - 1}`)).toBe(count - 1)
  expect(names.get(`name ${count - 25_000}`)).toBe(count - 25_000)
  expect(names.get('name 0')).toBeUndefined()
  expect(names.size).toBeLessThanOrEqual(50_000)
  for (let n = 0; n < count; n++) if (!names.mayHave(`name ${n}`)) throw new Error(`lost: ${n}`)
  // Two bytes for each of those that are gone.
  expect(names.filterBytes).toBeLessThan(2_000_000)
})

test('hardly a name that never was looks as if it had been', () => {
  const names = new Names<number>()
  for (let n = 0; n < 200_000; n++) names.set(`5f8a1c2e9d3b4a00${n.toString(16)}`, n)
  let wrong = 0
  for (let n = 0; n < 20_000; n++) if (names.mayHave(`5f8a1c2e9d3b4b00${n.toString(16)}`)) wrong++
  expect(wrong).toBeLessThan(1_000)
  expect(new Names<number>().mayHave('any')).toBe(false)
})
