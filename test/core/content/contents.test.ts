import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { altAliasesOf, canonicalAliasOf, newAliases } from '#core/content/m.room.canonical_alias.ts'
import {
  federates,
  predecessorOf,
  roomTypeOf,
  roomVersionIdOf,
} from '#core/content/m.room.create.ts'
import { guestsMayJoin } from '#core/content/m.room.guest_access.ts'
import { historyVisibilityOf } from '#core/content/m.room.history_visibility.ts'
import {
  allowedRoomsOf,
  allowsKnocking,
  isRestricted,
  joinRuleOf,
} from '#core/content/m.room.join_rules.ts'
import {
  authorisingUserOf,
  displayNameOf,
  isDirect,
  membershipOf,
} from '#core/content/m.room.member.ts'
import { roomAvatarOf } from '#core/content/m.room.avatar.ts'
import { algorithmOf } from '#core/content/m.room.encryption.ts'
import { roomNameOf } from '#core/content/m.room.name.ts'
import { replacementRoomOf } from '#core/content/m.room.tombstone.ts'
import { topicOf } from '#core/content/m.room.topic.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions, stableVersions } from '#core/room-version.ts'

/** Contents in which nothing is as it should be. */
const odd = (key: string): JsonObject[] => [
  {},
  ...[null, 5, [], {}, true].map((value) => ({ [key]: value })),
  parseJson(`{"__proto__":{"${key}":"join"}}`) as JsonObject,
]

test('a membership is one of five', () => {
  for (const membership of ['ban', 'invite', 'join', 'knock', 'leave'])
    expect(membershipOf({ membership })).toBe(membership as never)
  for (const content of [...odd('membership'), { membership: 'constructor' }])
    expect(membershipOf(content)).toBeUndefined()
  expect(membershipOf(undefined)).toBeUndefined()
})

test('a member has a name, a voucher and a mark of direct chats, if they are sound', () => {
  expect(displayNameOf({ displayname: 'x' })).toBe('x')
  for (const content of odd('displayname')) expect(displayNameOf(content)).toBeUndefined()
  const key = 'join_authorised_via_users_server'
  expect(authorisingUserOf({ [key]: '@a:b' })).toBe('@a:b')
  for (const content of odd(key)) expect(authorisingUserOf(content)).toBeUndefined()
  expect(isDirect({ is_direct: true })).toBe(true)
  expect(isDirect({ is_direct: 'true' })).toBe(false)
})

test('a room is by invitation unless it says otherwise', () => {
  expect(joinRuleOf(undefined)).toBe('invite')
  for (const content of odd('join_rule')) expect(joinRuleOf(content)).toBe('invite')
  expect(joinRuleOf({ join_rule: 'public' })).toBe('public')
})

test('restricted rooms and knocking came with versions', () => {
  const from = (test: (rule: string, id: string) => boolean, rule: string) =>
    [...stableVersions.keys()].filter((id) => test(rule, id))[0]
  const restricted = (rule: string, id: string) => isRestricted(roomVersions.get(id)!, rule)
  const knocking = (rule: string, id: string) => allowsKnocking(roomVersions.get(id)!, rule)
  expect(from(restricted, 'restricted')).toBe('8')
  expect(from(restricted, 'knock_restricted')).toBe('10')
  expect(from(restricted, 'knock')).toBeUndefined()
  expect(from(knocking, 'knock')).toBe('7')
  expect(from(knocking, 'knock_restricted')).toBe('10')
  expect(from(knocking, 'restricted')).toBeUndefined()
})

test('the rooms that let into a restricted room are those that are sound', () => {
  const rule = (room_id: unknown, type = 'm.room_membership') => ({ type, room_id }) as JsonObject
  const allow = [rule('!a:b'), rule(5), rule('a'), rule('!c:d', 'other'), null, 'x', rule('!e:f')]
  expect(allowedRoomsOf({ allow })).toEqual(['!a:b', '!e:f'])
  for (const content of odd('allow')) expect(allowedRoomsOf(content)).toEqual([])
})

test('history is shared unless it says otherwise', () => {
  for (const history_visibility of ['invited', 'joined', 'shared', 'world_readable'])
    expect(historyVisibilityOf({ history_visibility })).toBe(history_visibility as never)
  for (const content of odd('history_visibility'))
    expect(historyVisibilityOf(content)).toBe('shared')
  expect(historyVisibilityOf(undefined)).toBe('shared')
})

test('guests may join if the room says so', () => {
  expect(guestsMayJoin({ guest_access: 'can_join' })).toBe(true)
  for (const content of [undefined, { guest_access: 'forbidden' }, ...odd('guest_access')])
    expect(guestsMayJoin(content)).toBe(false)
})

test('a create event has defaults for all it does not say', () => {
  expect(roomVersionIdOf({ room_version: '9' })).toBe('9')
  for (const content of odd('room_version')) expect(roomVersionIdOf(content)).toBe('1')
  expect(roomTypeOf({ type: 'm.space' })).toBe('m.space')
  for (const content of odd('type')) expect(roomTypeOf(content)).toBeUndefined()
  expect(federates({ 'm.federate': false })).toBe(false)
  for (const content of odd('m.federate')) expect(federates(content)).toBe(true)
  expect(predecessorOf({ predecessor: { room_id: '!a:b' } })).toBe('!a:b')
  for (const content of odd('predecessor')) expect(predecessorOf(content)).toBeUndefined()
})

test('aliases are read if they are sound, and only new ones are to be looked up', () => {
  const content = { alias: '#a:b', alt_aliases: ['#c:d', 5, 'e'] }
  expect(canonicalAliasOf(content)).toBe('#a:b')
  expect(altAliasesOf(content)).toEqual(['#c:d'])
  for (const each of odd('alias')) expect(canonicalAliasOf(each)).toBeUndefined()

  const next = { alias: '#c:d', alt_aliases: ['#a:b', '#new:d', '#c:d'] }
  expect(newAliases(next, content)).toEqual(['#new:d'])
  expect(newAliases(next, undefined)).toEqual(['#c:d', '#a:b', '#new:d'])
  for (const alias of [null, '']) expect(newAliases({ alias }, undefined)).toEqual([])
  expect(newAliases({ alias: 'a' }, undefined)).toBeUndefined()
  expect(newAliases(content, undefined)).toBeUndefined()
})

test('a room has a name, a topic, a picture, an encryption and a successor, if they are sound', () => {
  const readers: [string, string, (content: JsonObject | undefined) => string | undefined][] = [
    ['name', 'x', roomNameOf],
    ['topic', 'x', topicOf],
    ['url', 'mxc://a/b', roomAvatarOf],
    ['algorithm', 'm.megolm.v1.aes-sha2', algorithmOf],
    ['replacement_room', '!a:b', replacementRoomOf],
  ]
  for (const [key, value, read] of readers) {
    expect(read({ [key]: value })).toBe(value)
    for (const content of [undefined, ...odd(key)]) expect(read(content)).toBeUndefined()
  }
  expect(roomNameOf({ name: '' })).toBeUndefined()
  expect(replacementRoomOf({ replacement_room: 'a' })).toBeUndefined()
})

test('a rich topic is read as plain text', () => {
  const rich = (...texts: JsonObject[]) => ({ topic: 'old', 'm.topic': { 'm.text': texts } })
  const html = { body: '<b>x</b>', mimetype: 'text/html' }
  expect(topicOf(rich(html, { body: 'x' }))).toBe('x')
  expect(topicOf(rich(html, { body: 'y', mimetype: 'text/plain' }))).toBe('y')
  expect(topicOf(rich(html))).toBe('old')
  expect(topicOf({ topic: 'old', 'm.topic': 5 })).toBe('old')
})
