import { describe, expect, test } from 'bun:test'
import { changesTo, eventAt, findConflicts, type PackedState } from '#core/state-res/conflicts.ts'
import { run } from '#core/state-res/steps.ts'
import { Random } from '#test/differential/random.ts'

const pack = (state: Record<number, number>): PackedState => {
  const keys = Object.keys(state).map(Number)
  keys.sort((a, b) => a - b)
  return { keys: Float64Array.from(keys), events: keys.map((key) => state[key]!) }
}

const conflicts = (...states: Record<number, number>[]) => run(findConflicts(states.map(pack)))

describe('conflicts', () => {
  test('of states that are alike are none', () => {
    expect(conflicts({ 1: 10, 2: 20 }, { 1: 10, 2: 20 }).candidates.size).toBe(0)
    expect(conflicts({}, {}).candidates.size).toBe(0)
    expect(conflicts({ 1: 10 }).candidates.size).toBe(0)
  })

  test('are keys with different events, or absent from a state', () => {
    const found = conflicts({ 1: 10, 2: 20, 5: 50 }, { 1: 10, 2: 21, 9: 90 }, { 1: 10, 2: 20 })
    expect([...found.candidates]).toEqual([
      [2, [20, 21]],
      [5, [50]],
      [9, [90]],
    ])
    expect(found.perState).toEqual([[20, 50], [21, 90], [20]])
  })

  test('are found in states of any size as by asking for each key', () => {
    const random = new Random(1)
    const states = [0, 1, 2].map(() => {
      const state: Record<number, number> = {}
      for (let key = 0; key < 6000; key++) if (random.chance(0.99)) state[key] = key
      for (let count = 0; count < 50; count++) state[random.below(9000)] = random.below(99)
      return state
    })
    const expected = Array.from({ length: 9000 }, (_, key) => key).filter(
      (key) => new Set(states.map((state) => state[key])).size > 1,
    )
    expect([...conflicts(...states).candidates.keys()]).toEqual(expected)
  })
})

test('an event is found by its key', () => {
  const state = pack({ 1: 10, 4: 40, [2 ** 40]: 7 })
  expect([0, 1, 2, 4, 5, 2 ** 40].map((key) => eventAt(state, key))).toEqual([
    undefined,
    10,
    undefined,
    40,
    undefined,
    7,
  ])
  expect(eventAt(pack({}), 1)).toBeUndefined()
})

test('the changes turn any of the states into the resolved one', () => {
  const states = [
    { 1: 10, 2: 20, 5: 50 },
    { 1: 10, 2: 21 },
    { 1: 10, 2: 20, 7: 70 },
  ].map(pack)
  const found = run(findConflicts(states))
  const resolved = new Map([
    [2, 21],
    [7, 70],
    [8, 80],
  ])
  const changes = states.map((state) => [...changesTo(state, found, resolved)])
  expect(changes).toEqual([
    [
      [2, 21],
      [5, undefined],
      [7, 70],
      [8, 80],
    ],
    [
      [7, 70],
      [8, 80],
    ],
    [
      [2, 21],
      [8, 80],
    ],
  ])
})
