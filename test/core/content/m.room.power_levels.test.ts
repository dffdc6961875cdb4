import { describe, expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import {
  eventLevel,
  namedLevel,
  notificationLevel,
  powerLevels,
  readLevel,
  userLevel,
} from '#core/content/m.room.power_levels.ts'
import { toRoomEvent } from '#core/event/check.ts'
import type { Pdu } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions, stableVersions } from '#core/room-version.ts'

const versions = [...stableVersions.values()]
const version = (id: string) => roomVersions.get(id)!

const create = (of: RoomVersion, content: JsonObject = {}) => {
  const creator = of.creatorInContent ? { creator: '@creator:hs1' } : {}
  const pdu = { type: 'm.room.create', sender: '@creator:hs1', content: { ...creator, ...content } }
  return toRoomEvent(of, pdu as never as Pdu, '$create', '!room')
}

test('without the event the creator has 100, since v12 more than anybody, and others 0', () => {
  for (const of of versions) {
    const levels = powerLevels(of, undefined, create(of))
    expect(userLevel(levels, '@creator:hs1')).toBe(of.privilegedCreators ? Infinity : 100)
    expect(userLevel(levels, '@other:hs1')).toBe(0)
    const names = [
      'ban',
      'kick',
      'redact',
      'invite',
      'state_default',
      'events_default',
      'users_default',
    ] as const
    expect(names.map((name) => namedLevel(levels, name))).toEqual([50, 50, 50, 0, 50, 0, 0])
    expect(eventLevel(levels, 'm.x', true)).toBe(50)
    expect(eventLevel(levels, 'm.x', false)).toBe(0)
    expect(notificationLevel(levels, 'room')).toBe(50)
  }
})

test('with the event a creator before v12 is a user like any other', () => {
  for (const of of versions) {
    const content = { users: { '@admin:hs1': 90 }, users_default: 7 }
    const levels = powerLevels(of, content, create(of))
    expect(userLevel(levels, '@creator:hs1')).toBe(of.privilegedCreators ? Infinity : 7)
    expect(userLevel(levels, '@admin:hs1')).toBe(90)
    expect(userLevel(levels, '@other:hs1')).toBe(7)
  }
})

test('the creator was named by the content up to v10, and is the sender since', () => {
  for (const of of versions) {
    const levels = powerLevels(of, undefined, create(of, { creator: '@named:hs1' }))
    const isCreator = (user: string) => userLevel(levels, user) > 0
    expect(isCreator('@named:hs1')).toBe(of.creatorInContent)
    expect(isCreator('@creator:hs1')).toBe(!of.creatorInContent)
  }
})

test('additional creators count since v12', () => {
  for (const of of versions) {
    const event = create(of, { additional_creators: ['@second:hs2', 5] })
    const level = userLevel(powerLevels(of, { users: { '@second:hs2': 3 } }, event), '@second:hs2')
    expect(level).toBe(of.privilegedCreators ? Infinity : 3)
  }
})

test('what is set by name, type or key counts before the defaults', () => {
  const content = {
    ban: 1,
    invite: -2,
    events: { 'm.room.name': 30 },
    state_default: 20,
    events_default: 10,
    notifications: { room: 40 },
  }
  const levels = powerLevels(version('11'), content, undefined)
  expect(namedLevel(levels, 'ban')).toBe(1)
  expect(namedLevel(levels, 'invite')).toBe(-2)
  expect(namedLevel(levels, 'kick')).toBe(50)
  expect(eventLevel(levels, 'm.room.name', true)).toBe(30)
  expect(eventLevel(levels, 'm.room.topic', true)).toBe(20)
  expect(eventLevel(levels, 'm.room.message', false)).toBe(10)
  expect(notificationLevel(levels, 'room')).toBe(40)
})

test('names that every object has are no entries', () => {
  const levels = powerLevels(version('11'), { events: {}, users: {}, notifications: {} }, undefined)
  for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty']) {
    expect(eventLevel(levels, name, false)).toBe(0)
    expect(userLevel(levels, name)).toBe(0)
    expect(notificationLevel(levels, name)).toBe(50)
  }
  const own = parseJson('{"events":{"__proto__":33}}') as JsonObject
  expect(eventLevel(powerLevels(version('11'), own, undefined), '__proto__', false)).toBe(33)
})

test('values of the wrong type count as absent', () => {
  for (const of of versions)
    for (const value of [null, {}, [], true, 'many', '', '5.5', '1_000', '0x10'] as Json[]) {
      const content = { ban: value, users: { '@a:b': value }, users_default: 4, events: value }
      const levels = powerLevels(of, content, undefined)
      expect(namedLevel(levels, 'ban')).toBe(50)
      expect(userLevel(levels, '@a:b')).toBe(4)
      expect(eventLevel(levels, 'm.x', true)).toBe(50)
    }
})

describe('a level may be', () => {
  const read = (text: string) =>
    Object.fromEntries(versions.map((of) => [of.id, readLevel(of, parseJson(text)!)]))
  const upTo = (last: number, value: number) =>
    Object.fromEntries(versions.map(({ id }) => [id, Number(id) <= last ? value : undefined]))

  test.each([
    ['"100"', 100],
    ['"000100"', 100],
    ['"+100"', 100],
    ['"-100"', -100],
    ['" 100 "', 100],
    ['"\\t-00100\\n"', -100],
  ])('the text %s up to v9', (text, value) => expect(read(text)).toEqual(upTo(9, value)))

  test.each([
    ['50.57', 50],
    ['5.114698E4', 51146],
    ['-50.9', -50],
    ['-0.5', 0],
  ])('the float %s where canonical JSON is not enforced', (text, value) => {
    const levels = read(text)
    for (const id of ['1', '2', '3', '4', '5']) expect(levels[id]).toBe(value)
    for (const id of ['10', '11', '12']) expect(levels[id]).toBeUndefined()
  })

  test('no number beyond those of a double', () => {
    expect(new Set(Object.values(read('1e999')))).toEqual(new Set([undefined]))
  })

  test('an integer in every version', () => {
    expect(new Set(Object.values(read('-7')))).toEqual(new Set([-7]))
  })
})
