import { describe, expect, test } from 'bun:test'
import { authorize } from '#core/auth/authorize.ts'
import type { JsonObject } from '#core/json.ts'
import { alice, bob, carol, creator, from, Stage, until, versions, wordsOf } from './stage.ts'

const tooLow = (type: string) => `The sender's power is too low for ${type}`

describe.each(versions)('an event of version $id', (version) => {
  const room = () => new Stage(version).join(alice)
  const message = (sender: string) => ({ type: 'm.room.message', sender })
  const topic = (sender: string) => ({ type: 'm.room.topic', stateKey: '', sender })

  test('needs a room with a create event', () => {
    const event = room().event(message(alice))
    const nothing = () => undefined
    expect(wordsOf(authorize(event, nothing, () => true))).toBe('The room has no create event')
  })

  test('is sent by a member', () => {
    expect(room().judge(message(alice))).toBe('allow')
    const outside = 'The sender is not in the room'
    expect(room().judge(message(bob))).toBe(outside)
    for (const membership of ['invite', 'leave', 'ban', 'knock'])
      expect(room().member(bob, membership).judge(message(bob))).toBe(outside)
  })

  test('takes 50 for state, 0 for messages, if the room says nothing', () => {
    for (const stage of [room(), room().levels({ users: { [alice]: 49 } })]) {
      expect(stage.judge(message(alice))).toBe('allow')
      expect(stage.judge(topic(alice))).toBe(tooLow('m.room.topic'))
    }
    expect(
      room()
        .levels({ users: { [alice]: 50 } })
        .judge(topic(alice)),
    ).toBe('allow')
    expect(room().judge(topic(creator))).toBe('allow')
    expect(
      room()
        .levels({ users: { [alice]: -1 } })
        .judge(message(alice)),
    ).toBe(tooLow('m.room.message'))
  })

  test('takes the level of its kind, or of its type', () => {
    const judge = (levels: JsonObject, offer: { type: string; stateKey?: string }) =>
      room()
        .levels({ users: { [alice]: 10 }, ...levels })
        .judge({ ...offer, sender: alice })
    const state = { type: 'x', stateKey: '' }
    expect(judge({ state_default: 10 }, state)).toBe('allow')
    expect(judge({ state_default: 11 }, state)).toBe(tooLow('x'))
    expect(judge({ events_default: 10, state_default: 99 }, { type: 'x' })).toBe('allow')
    expect(judge({ events_default: 11 }, { type: 'x' })).toBe(tooLow('x'))
    expect(judge({ events: { x: 10 }, state_default: 99 }, state)).toBe('allow')
    expect(judge({ events: { x: 11 }, state_default: 0 }, state)).toBe(tooLow('x'))
  })

  test('of a type that JavaScript knows is of a type like others', () => {
    const stage = room().levels({ events: { x: 100 } })
    for (const type of ['__proto__', 'constructor', 'toString'])
      expect(stage.judge({ type, sender: alice })).toBe('allow')
  })

  test('takes the default level of users who are not named', () => {
    const stage = room().levels({ users: { [bob]: 0 }, users_default: 50 })
    expect(stage.judge(topic(alice))).toBe('allow')
    expect(stage.join(bob).judge(topic(bob))).toBe(tooLow('m.room.topic'))
  })

  test('is named after its sender if it is named after a user', () => {
    const judge = (stateKey: string) =>
      room().levels({ state_default: 0 }).judge({ type: 'x', stateKey, sender: alice })
    expect(judge(alice)).toBe('allow')
    expect(judge('alice')).toBe('allow')
    for (const stateKey of [bob, '@', '@alice', `${alice}_x`])
      expect(judge(stateKey)).toBe('The state key is the name of another user')
  })

  test('comes from the server of the creator if the room does not federate', () => {
    const closed = new Stage(version, { 'm.federate': false }).rule('public').join(alice, bob)
    const closedTo = 'The room does not federate'
    expect(closed.judge(message(alice))).toBe('allow')
    expect(closed.judge(message(bob))).toBe(closedTo)
    expect(closed.try(carol, carol, 'join')).toBe(closedTo)
    // The rule names the sender only.
    expect(closed.try(creator, carol, 'invite')).toBe('allow')
    for (const value of [true, null, 'false', 0]) {
      const open = new Stage(version, { 'm.federate': value }).join(bob)
      expect(open.judge(message(bob))).toBe('allow')
    }
  })

  test('is refused where the level that it takes cannot be read', () => {
    if (version.integerPowerLevels) return
    const stage = room().levels({ users: { [alice]: 100 }, state_default: 'abc' })
    expect(stage.judge(topic(alice))).toBe(tooLow('m.room.topic'))
    expect(stage.judge(message(alice))).toBe('allow')
    const nobody = room().levels({ users_default: [] })
    expect(nobody.judge(message(alice))).toBe(tooLow('m.room.message'))
  })
})

describe('a room without power levels', () => {
  test.each(until(11))('gives its creator 100 in version $id', (version) => {
    const room = new Stage(version).join(alice)
    expect(room.try(creator, alice, 'leave')).toBe('allow')
    expect(room.levels({}).try(creator, alice, 'leave')).not.toBe('allow')
  })

  test.each(from(12))('gives its creators more than any number in version $id', (version) => {
    const room = new Stage(version, { additional_creators: [bob] }).join(alice, bob)
    room.levels({ state_default: 2 ** 53 - 1 })
    const topic = (sender: string) => room.judge({ type: 'm.room.topic', stateKey: '', sender })
    expect([creator, bob, alice].map(topic)).toEqual(['allow', 'allow', tooLow('m.room.topic')])
  })
})

describe('m.room.aliases', () => {
  const aliases = (stateKey: string | undefined) => ({
    type: 'm.room.aliases',
    stateKey,
    sender: bob,
  })

  test.each(until(5))('are for each server its own, in version $id, member or not', (version) => {
    const room = new Stage(version).levels({ state_default: 100 })
    expect(room.judge(aliases('b.example'))).toBe('allow')
    expect(room.judge(aliases('a.example'))).toBe('A server can set no aliases but its own')
    expect(room.judge(aliases(''))).toBe('A server can set no aliases but its own')
    expect(room.judge(aliases(undefined))).toBe('Aliases are state')
  })

  test.each(until(5))('do not leave a room that does not federate, in version $id', (version) => {
    const room = new Stage(version, { 'm.federate': false })
    expect(room.judge(aliases('b.example'))).toBe('The room does not federate')
  })

  test.each(from(6))('are like any state in version $id', (version) => {
    const room = new Stage(version)
    expect(room.judge(aliases('b.example'))).toBe('The sender is not in the room')
    expect(room.join(bob).judge(aliases('b.example'))).toBe(tooLow('m.room.aliases'))
    expect(room.levels({ state_default: 0 }).judge(aliases('a.example'))).toBe('allow')
  })
})

describe('m.room.redaction', () => {
  const redaction = (redacts: string | undefined) => ({
    type: 'm.room.redaction',
    sender: bob,
    redacts,
  })

  test.each(until(2))(
    'takes the redact level or an event of ones server, in version $id',
    (version) => {
      const room = new Stage(version).join(bob)
      const foreign = 'The sender may not redact events of other servers'
      expect(room.judge(redaction('$x:b.example'))).toBe('allow')
      expect(room.judge(redaction('$x:a.example'))).toBe(foreign)
      expect(room.judge(redaction('$x'))).toBe(foreign)
      expect(room.judge(redaction(undefined))).toBe(foreign)
      expect(room.levels({ users: { [bob]: 50 } }).judge(redaction('$x:a.example'))).toBe('allow')
      room.levels({ users: { [bob]: 50 }, redact: 51 })
      expect(room.judge(redaction('$x:a.example'))).toBe(foreign)
    },
  )

  test.each(from(3))('is like any event in version $id', (version) => {
    const room = new Stage(version).join(bob)
    expect(room.judge(redaction('$x'))).toBe('allow')
    room.levels({ events: { 'm.room.redaction': 1 } })
    expect(room.judge(redaction('$x'))).toBe(tooLow('m.room.redaction'))
  })
})
