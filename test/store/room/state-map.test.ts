import { describe, expect, test } from 'bun:test'
import { findConflicts } from '#core/state-res/conflicts.ts'
import { run } from '#core/state-res/steps.ts'
import { changesTo, conflictsOf } from '#store/room/state-conflicts.ts'
import { addPair, emptyHash, hashBytes, hashFromBytes, sameHash } from '#store/room/state-hash.ts'
import { StateMap } from '#store/room/state-map.ts'
import { random } from './random.ts'

const plain = (state: StateMap) => new Map(state)

describe('a state', () => {
  test('behaves as a map does, whatever is done to it', () => {
    const draw = random(1)
    for (let round = 0; round < 30; round++) {
      const model = new Map<number, number>()
      let state = StateMap.empty
      const keys = draw(3000) + 1
      for (let step = 0; step < 40; step++) {
        const changes = Array.from({ length: draw(200) }, (): [number, number | undefined] => [
          draw(keys) * 2 ** draw(22),
          draw(4) === 0 ? undefined : draw(1000),
        ])
        for (const [key, event] of changes)
          if (event === undefined) model.delete(key)
          else model.set(key, event)
        const before = plain(state)
        const next = state.with(changes)
        expect(plain(state)).toEqual(before)
        state = next
      }
      const sorted = [...model].sort((a, b) => a[0] - b[0])
      expect([...state]).toEqual(sorted)
      expect(state.size).toBe(model.size)
      expect([...state.packed().keys]).toEqual(sorted.map(([key]) => key))
      for (const [key, event] of sorted.slice(0, 50)) {
        expect(state.get(key)).toBe(event)
        expect(state.get(key + 0.5)).toBeUndefined()
      }
      expect(state.get(-1)).toBeUndefined()
      expect(sameHash(state.hash, StateMap.from(model).hash)).toBeTrue()
    }
  })

  test('that is changed to what it is stays the same object', () => {
    const state = StateMap.from([
      [1, 10],
      [2, 20],
    ])
    expect(
      state.with([
        [1, 10],
        [3, undefined],
      ]),
    ).toBe(state)
  })

  test('shares all but a chunk or two with its successor', () => {
    const state = StateMap.from(Array.from({ length: 50_000 }, (_, key) => [key, key]))
    const next = state.with([[25_000, 1]])
    const shared = new Set(state.chunks)
    const made = next.chunks.filter((chunk) => !shared.has(chunk))
    expect(made).toHaveLength(1)
    expect(made[0]!.keys.length).toBeLessThanOrEqual(512)
  })

  test('lists where another differs', () => {
    const draw = random(2)
    for (let round = 0; round < 50; round++) {
      const state = StateMap.from(
        new Map(Array.from({ length: 2000 }, () => [draw(5000), draw(9)])),
      )
      const other = state.with(
        Array.from({ length: draw(40) }, () => [draw(6000), draw(3) ? draw(9) : undefined]),
      )
      // Alike in content, sharing nothing.
      const apart = StateMap.from(other)
      const expected = [...new Set([...state, ...other].map(([key]) => key))]
        .sort((a, b) => a - b)
        .map((key) => ({ key, old: state.get(key), new: other.get(key) }))
        .filter((change) => change.old !== change.new)
      expect(state.diff(other)).toEqual(expected)
      expect(state.diff(apart)).toEqual(expected)
      expect(other.diff(apart)).toEqual([])
    }
  })
})

describe('conflicts', () => {
  test('are those that the core finds', () => {
    const draw = random(3)
    for (let round = 0; round < 50; round++) {
      const trunk = StateMap.from(
        new Map(Array.from({ length: 3000 }, () => [draw(9000), draw(9)])),
      )
      const states = Array.from({ length: 2 + draw(3) }, () =>
        trunk.with(
          Array.from({ length: draw(30) }, () => [draw(9000), draw(3) ? draw(9) : undefined]),
        ),
      )
      const conflicts = run(conflictsOf(states))
      expect(conflicts).toEqual(run(findConflicts(states.map((state) => state.packed()))))
      const resolved = new Map(
        [...conflicts.candidates].filter(() => draw(5) > 0).map(([key, [event]]) => [key, event!]),
      )
      const results = states.map((state) => state.with(changesTo(state, conflicts, resolved)))
      for (const result of results) expect(sameHash(result.hash, results[0]!.hash)).toBeTrue()
      for (const key of conflicts.candidates.keys())
        expect(results[0]!.get(key)).toBe(resolved.get(key))
    }
  })
})

describe('the hash of a set', () => {
  test('tells pairs apart that differ in little, or by order of their numbers', () => {
    const seen = new Set<string>()
    let count = 0
    for (const key of [0, 1, 2, 3, 2 ** 32, 2 ** 32 + 1, 2 ** 52])
      for (const value of [0, 1, 2, 3, 2 ** 32, 2 ** 32 + 1, 2 ** 52]) {
        const hash = emptyHash()
        addPair(hash, key, value)
        seen.add(hash.join())
        for (const lane of hash) expect(lane).not.toBe(0)
        count++
      }
    expect(seen.size).toBe(count)
  })

  test('scatters each lane by itself', () => {
    const lanes = Array.from({ length: 4 }, () => new Set<number>())
    for (let value = 0; value < 20_000; value++) {
      const hash = emptyHash()
      addPair(hash, 7, value)
      for (const [index, lane] of lanes.entries()) lane.add(hash[index]!)
    }
    // Of 20,000 random numbers of 32 bits, 0.05 pairs are equal.
    for (const lane of lanes) expect(lane.size).toBeGreaterThan(19_990)
  })

  test('keeps its bytes', () => {
    const hash = emptyHash()
    addPair(hash, 5, 6)
    expect(hashFromBytes(hashBytes(hash))).toEqual(hash)
  })
})
