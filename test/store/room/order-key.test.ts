import { expect, test } from 'bun:test'
import { firstKey, keyBetween } from '#store/room/order-key.ts'

const compare = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b)

test('there is room between any two keys, again and again, at every place', () => {
  let seed = 7
  const random = (below: number) => (seed = (seed * 1103515245 + 12345) % 2147483648) % below
  const keys: Uint8Array[] = [firstKey]
  for (let round = 0; round < 3_000; round++) {
    const at = random(keys.length + 1)
    const key = keyBetween(keys[at - 1] ?? null, keys[at] ?? null)
    expect(key.at(-1)).not.toBe(0)
    keys.splice(at, 0, key)
  }
  for (let i = 1; i < keys.length; i++) expect(compare(keys[i - 1]!, keys[i]!)).toBe(-1)
})

test('keys stay short where spans are appended, and grow by a byte for many that are squeezed in', () => {
  let last = firstKey
  for (let i = 0; i < 1_000; i++) last = keyBetween(last, null)
  expect(last.length).toBeLessThan(12)
  let low = firstKey
  const high = keyBetween(firstKey, null)
  for (let i = 0; i < 100; i++) low = keyBetween(low, high)
  expect(low.length).toBeLessThan(30)
})
