import { expect, test } from 'bun:test'
import { shardOf, shardOfNid, SHARDS } from '#core/shard.ts'

// A database is dealt by this: another answer would look for every room in another place.
test('the shard of an ID is fixed for ever', () => {
  expect(SHARDS).toBe(64)
  // Worked out by another program: the first 8 bytes of SHA-256, big-endian, modulo the count.
  expect(shardOf('!room:example.org')).toBe(60)
  expect(shardOf('!room:example.org', 7)).toBe(5)
  expect(shardOf('@alice:example.org')).toBe(19)
  expect(shardOf(`!${'A'.repeat(43)}`)).toBe(3)
})

test('IDs are dealt to all shards', () => {
  const shards = Array.from({ length: 2_000 }, (_, n) => shardOf(`!${n}:example.org`))
  expect(new Set(shards).size).toBe(64)
})

test('a number names the shard that gave it out', () => {
  for (const shard of [0, 1, 63]) expect(shardOfNid(123_456 * 64 + shard)).toBe(shard)
})
