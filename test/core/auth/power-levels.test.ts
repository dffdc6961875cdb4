import { describe, expect, test } from 'bun:test'
import { rawNumber, type Json, type JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { alice, bob, carol, creator, from, Stage, until, versions } from './stage.ts'

/** A room in which alice has 50, and bob and others what the test says. */
const stage = (version: RoomVersion, content: JsonObject = {}) =>
  new Stage(version).join(alice, bob).levels({
    state_default: 0,
    ...content,
    users: { [alice]: 50, ...(content['users'] as object) },
  })

/** Alice's next power levels: what is there, changed. */
function change(room: Stage, patch: JsonObject, users: JsonObject = {}): string {
  const before = room.state.get('m.room.power_levels\0')!.content
  const whole = { ...before, ...patch, users: { ...(before['users'] as object), ...users } }
  for (const [key, value] of Object.entries(whole))
    if (value === null) Reflect.deleteProperty(whole, key)
  for (const [key, value] of Object.entries(whole.users))
    if (value === null) Reflect.deleteProperty(whole.users, key)
  return room.tryLevels(alice, whole)
}

const tooLow = (what: string) => `The sender's power is too low to change ${what}`
const tooLowFor = (user: string) => `The sender's power is too low to change that of ${user}`

const named = [
  'users_default',
  'events_default',
  'state_default',
  'ban',
  'redact',
  'kick',
  'invite',
]

describe.each(versions)('power levels of version $id', (version) => {
  test('may be the first of the room', () => {
    const room = new Stage(version)
    expect(room.tryLevels(creator, {})).toBe('allow')
    expect(room.tryLevels(creator, { users: { [alice]: 1000 }, ban: 1000 })).toBe('allow')
  })

  test('may stay as they are, also where they are above the sender', () => {
    const room = stage(version, { ban: 99, events: { x: 99 }, users: { [bob]: 99 } })
    expect(change(room, {})).toBe('allow')
  })

  test.each(named)('%s can be set, changed and removed up to the own level', (name) => {
    // The named level is all that counts here; `state_default` must let alice write at all.
    const at = (level: number) =>
      stage(version, { [name]: level, events: { 'm.room.power_levels': 0 } })
    const unset = stage(version, { events: { 'm.room.power_levels': 0 } })
    if (name !== 'state_default') {
      expect(change(unset, { [name]: 50 })).toBe('allow')
      expect(change(unset, { [name]: 51 })).toBe(tooLow(name))
    }
    expect(change(at(50), { [name]: 1 })).toBe('allow')
    expect(change(at(50), { [name]: 51 })).toBe(tooLow(name))
    expect(change(at(51), { [name]: 50 })).toBe(tooLow(name))
    expect(change(at(50), { [name]: null })).toBe('allow')
    expect(change(at(51), { [name]: null })).toBe(tooLow(name))
  })

  test('an event type can be set, changed and removed up to the own level', () => {
    const at = (level: number) => stage(version, { events: { x: level } })
    expect(change(stage(version), { events: { x: 50 } })).toBe('allow')
    expect(change(stage(version), { events: { x: 51 } })).toBe(tooLow('events: x'))
    expect(change(at(50), { events: { x: 0 } })).toBe('allow')
    expect(change(at(50), { events: { x: 51 } })).toBe(tooLow('events: x'))
    expect(change(at(51), { events: { x: 0 } })).toBe(tooLow('events: x'))
    expect(change(at(50), { events: null })).toBe('allow')
    expect(change(at(51), { events: {} })).toBe(tooLow('events: x'))
    expect(change(at(51), { events: null })).toBe(tooLow('events: x'))
  })

  test('names of JavaScript are ordinary names', () => {
    const odd = JSON.parse('{"__proto__": 51, "constructor": 50}') as JsonObject
    expect(change(stage(version), { events: odd })).toBe(tooLow('events: __proto__'))
    expect(change(stage(version, { events: odd }), { events: {} })).toBe(
      tooLow('events: __proto__'),
    )
  })

  test('a user can be set up to the own level', () => {
    expect(change(stage(version), {}, { [carol]: 50 })).toBe('allow')
    expect(change(stage(version), {}, { [carol]: 51 })).toBe(tooLowFor(carol))
    expect(change(stage(version), {}, { [alice]: 51 })).toBe(tooLowFor(alice))
  })

  test('another user can be changed and removed only from below', () => {
    const at = (level: number) => stage(version, { users: { [bob]: level } })
    for (const level of [0, 50, null]) {
      expect(change(at(49), {}, { [bob]: level })).toBe('allow')
      if (level !== 50) expect(change(at(50), {}, { [bob]: level })).toBe(tooLowFor(bob))
      expect(change(at(51), {}, { [bob]: level })).toBe(tooLowFor(bob))
    }
  })

  test('one can lower and remove oneself', () => {
    expect(change(stage(version), {}, { [alice]: 0 })).toBe('allow')
    expect(change(stage(version), {}, { [alice]: null })).toBe('allow')
  })

  test.each<[Json]>([[null], [[]], ['x'], [5], [true]])('users cannot be %j', (users) => {
    expect(new Stage(version).tryLevels(creator, { users })).toBe(
      'users is not an object of user IDs',
    )
  })

  test.each(['alice', '@alice', '', 'alice:a.example', '@alice:', '@alice:a b'])(
    'users cannot name %j',
    (user) => {
      expect(new Stage(version).tryLevels(creator, { users: { [user]: 0 } })).toBe(
        'users is not an object of user IDs',
      )
    },
  )

  test.each<[Json]>([[null], [true], ['abc'], [''], ['1.5'], ['0x1'], [[]], [{}]])(
    'users cannot have the level %j',
    (level) => {
      expect(new Stage(version).tryLevels(creator, { users: { [alice]: level } })).toBe(
        'users has a level that is none',
      )
    },
  )

  test('under another state key are compared with those of the room', () => {
    const room = stage(version)
    const judge = (ban: number) =>
      room.judge({
        type: 'm.room.power_levels',
        stateKey: 'other',
        sender: alice,
        content: { state_default: 0, users: { [alice]: 50 }, ban },
      })
    expect(judge(50)).toBe('allow')
    expect(judge(51)).toBe(tooLow('ban'))
  })
})

describe('notifications', () => {
  test.each(until(5))('are not looked at in version $id', (version) => {
    expect(change(stage(version), { notifications: { room: 100 } })).toBe('allow')
  })

  test.each(from(6))('are checked like events in version $id', (version) => {
    const at = (level: number) => stage(version, { notifications: { room: level } })
    expect(change(stage(version), { notifications: { room: 50 } })).toBe('allow')
    expect(change(stage(version), { notifications: { room: 51 } })).toBe(
      tooLow('notifications: room'),
    )
    expect(change(at(51), { notifications: null })).toBe(tooLow('notifications: room'))
  })
})

describe('how levels are written', () => {
  describe.each(until(9))('in version $id', (version) => {
    test('a text that is an integer is that integer', () => {
      const room = stage(version, { ban: '50', users: { [bob]: ' 0099 ' } })
      expect(change(room, { ban: 50 })).toBe('allow')
      expect(change(room, { ban: '+51' })).toBe(tooLow('ban'))
      expect(change(room, {}, { [bob]: 0 })).toBe(tooLowFor(bob))
      expect(change(room, {}, { [bob]: 99 })).toBe('allow')
    })

    test.each<[Json]>([['abc'], [{}], [[]], [true], ['1e2']])(
      'what is no level permits no change: %j',
      (level) => {
        expect(change(stage(version), { ban: level })).toBe(tooLow('ban'))
        expect(change(stage(version, { ban: level }), { ban: 0 })).toBe(tooLow('ban'))
      },
    )

    test('what is no object has no entries', () => {
      expect(change(stage(version, { events: 'x' }), { events: [] })).toBe('allow')
      expect(change(stage(version, { events: { x: 51 } }), { events: 'x' })).toBe(
        tooLow('events: x'),
      )
    })
  })

  test.each(until(5))('a float counts as its integer part in version $id', (version) => {
    const float = (text: string) => rawNumber(text) as unknown as Json
    expect(change(stage(version), { ban: float('50.9') })).toBe('allow')
    expect(change(stage(version), { ban: float('51.0') })).toBe(tooLow('ban'))
    expect(change(stage(version), { ban: float('5.114698E4') })).toBe(tooLow('ban'))
    expect(change(stage(version), {}, { [carol]: float('1e999') })).toBe(
      'users has a level that is none',
    )
  })

  describe.each(from(10))('in version $id, integers only', (version) => {
    test.each(named)('for %s', (name) => {
      for (const level of ['50', null, true, {}])
        expect(new Stage(version).tryLevels(creator, { [name]: level })).toBe(
          `${name} is not an integer`,
        )
    })

    test.each(['events', 'notifications'])('for %s', (name) => {
      for (const map of [null, [], 'x', { x: '1' }, { x: null }])
        expect(new Stage(version).tryLevels(creator, { [name]: map })).toBe(
          `${name} is not an object of integers`,
        )
    })

    test('for users', () => {
      expect(new Stage(version).tryLevels(creator, { users: { [alice]: '1' } })).toBe(
        'users has a level that is none',
      )
    })
  })
})

test.each(from(12))('no level can be set for a creator of version $id', (version) => {
  const room = new Stage(version, { additional_creators: [bob] })
  const refusal = 'The power of a creator cannot be set'
  expect(room.tryLevels(creator, { users: { [creator]: 100 } })).toBe(refusal)
  expect(room.tryLevels(creator, { users: { [bob]: 0 } })).toBe(refusal)
  expect(room.tryLevels(creator, { users: { [alice]: 2 ** 53 - 1 } })).toBe('allow')
})
