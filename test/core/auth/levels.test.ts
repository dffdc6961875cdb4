import { describe, expect, test } from 'bun:test'
import { isCreator, levelOf, namedLevel, requiredLevel, userLevel } from '#core/auth/levels.ts'
import type { Json } from '#core/json.ts'
import { alice, bob, creator, from, Stage, until, versions } from './stage.ts'

const powerLevels = (stage: Stage) => stage.state.get('m.room.power_levels\0')

describe.each(until(9))('a level of version $id', (version) => {
  test.each<[Json, number]>([
    [50, 50],
    [-1, -1],
    ['50', 50],
    ['\t+0050\n', 50],
    ['-5', -5],
    ['9007199254740993', 9007199254740992],
  ])('written %j is %d', (value, level) => {
    expect(levelOf(value, version)).toBe(level)
  })

  test.each<[Json]>([
    ['5 0'],
    ['++5'],
    ['5.0'],
    ['٥'],
    ['1_0'],
    ['Infinity'],
    [true],
    [null],
    [{}],
  ])('is not %j, which suffices for nothing and is exceeded by nothing', (value) => {
    const level = levelOf(value, version)
    expect([level >= 0, level <= 0, level < 0, level > 0]).toEqual([false, false, false, false])
  })

  test('that is null counts as absent where it is asked for', () => {
    const room = new Stage(version).levels({ ban: null, events: { x: null } })
    expect(namedLevel(powerLevels(room), 'ban')).toBe(50)
    expect(requiredLevel(powerLevels(room), 'x', true)).toBe(50)
  })
})

test.each(from(10))('a level of version $id is an integer', (version) => {
  expect(levelOf(50, version)).toBe(50)
  for (const value of ['50', 0.5, null, true]) expect(levelOf(value, version)).toBeNaN()
})

test('the creators of a room are as its version says', () => {
  const content = { creator: alice, additional_creators: [bob] }
  const creators = versions.map((version) => {
    const { create } = new Stage(version, content)
    return [creator, alice, bob].filter((user) => isCreator(create, user))
  })
  expect(creators).toEqual([
    ...until(10).map(() => [alice]),
    ...from(11)
      .filter(({ privilegedCreators }) => !privilegedCreators)
      .map(() => [creator]),
    ...from(12).map(() => [creator, bob]),
  ])
})

test('users of power levels that are no object are not named', () => {
  for (const version of until(9)) {
    const room = new Stage(version).levels({ users: 'x', users_default: 7 })
    expect(userLevel(room.create, powerLevels(room), alice)).toBe(7)
  }
})
