import { describe, expect, test } from 'bun:test'
import {
  EventFilter,
  type Filter,
  parseEventFilter,
  parseFilter,
  parsePath,
  project,
} from '#core/filter.ts'
import { parseJson } from '#core/canonical-json.ts'
import { matchesGlob } from '#core/glob.ts'
import type { JsonObject } from '#core/json.ts'
import { Random } from './random.ts'

const parse = (json: JsonObject) => parseFilter(json) as Filter

test('an empty filter lets everything through', () => {
  const filter = parse({})
  expect(filter).toMatchObject({
    eventFields: undefined,
    eventFormat: 'client',
    includeLeave: false,
  })
  for (const part of [
    filter.presence,
    filter.accountData,
    filter.ephemeral,
    filter.state,
    filter.timeline,
    filter.roomAccountData,
  ]) {
    expect(part.acceptsAll).toBe(true)
    expect(part.accepts({ type: 'm.x', sender: '@a:b', content: {} })).toBe(true)
    expect(part.lazyLoadMembers).toBe(false)
    expect(part.limit).toBeUndefined()
  }
  expect(filter.rooms.acceptsAll && filter.rooms.accepts('!r:b')).toBe(true)
})

test('a whole filter is read', () => {
  const filter = parse({
    event_fields: ['type', 'content.m\\.relates_to'],
    event_format: 'federation',
    presence: { not_types: ['*'] },
    account_data: { types: ['m.direct'] },
    room: {
      rooms: ['!a:b'],
      not_rooms: ['!c:d'],
      include_leave: true,
      timeline: { limit: 10, unread_thread_notifications: true },
      state: { lazy_load_members: true, include_redundant_members: true },
      ephemeral: { types: [] },
      account_data: { not_types: ['m.tag'] },
    },
    unknown: 5,
  })
  expect(filter.eventFields).toEqual([['type'], ['content', 'm.relates_to']])
  expect(filter).toMatchObject({ eventFormat: 'federation', includeLeave: true })
  expect(filter.timeline).toMatchObject({ limit: 10, unreadThreadNotifications: true })
  expect(filter.state).toMatchObject({ lazyLoadMembers: true, includeRedundantMembers: true })
  expect(['!a:b', '!c:d', '!e:f'].filter((room) => filter.rooms.accepts(room))).toEqual(['!a:b'])
  const accepts = (part: EventFilter, type: string) => part.accepts({ type, content: {} })
  expect(accepts(filter.presence, 'm.presence')).toBe(false)
  expect(accepts(filter.accountData, 'm.direct')).toBe(true)
  expect(accepts(filter.accountData, 'm.tag')).toBe(false)
  expect(accepts(filter.ephemeral, 'm.typing')).toBe(false)
  expect(accepts(filter.roomAccountData, 'm.tag')).toBe(false)
})

describe('a malformed filter is refused with a reason', () => {
  test.each([
    null,
    5,
    'x',
    { event_fields: 'x' },
    { event_fields: [5] },
    { event_format: 'raw' },
    { presence: 5 },
    { presence: [] },
    { account_data: { types: 'm.x' } },
    { room: [] },
    { room: { rooms: '!a:b' } },
    { room: { rooms: ['a'] } },
    { room: { not_rooms: [5] } },
    { room: { include_leave: 'yes' } },
    { room: { timeline: { limit: '5' } } },
    { room: { timeline: { limit: -1 } } },
    { room: { timeline: { limit: 1.5 } } },
    { room: { timeline: { senders: ['alice'] } } },
    { room: { state: { lazy_load_members: 1 } } },
    { room: { state: { contains_url: 'x' } } },
    { room: { ephemeral: { not_senders: '@a:b' } } },
  ] as unknown[])('%j', (json) => expect(parseFilter(json)).toBeString())

  test('with more that is tried for each event than anybody needs', () => {
    const many = Array.from({ length: 1_001 }, (_, n) => `a.${n}`)
    const stars = many.map((name) => `${name}*`)
    expect(parseFilter({ event_fields: many })).toBeString()
    expect(parseFilter({ event_fields: many.slice(1) })).toBeObject()
    expect(parseEventFilter({ not_types: stars })).toBeString()
    // Plain names cost nothing, however many they are.
    expect(parseEventFilter({ not_types: [...many, ...stars.slice(1)] })).toBeObject()
  })

  test('on its own too', () => {
    expect(parseEventFilter({ types: [5] })).toBeString()
    expect(parseEventFilter([])).toBeString()
    expect(parseEventFilter({ types: ['m.x'] })).toBeInstanceOf(EventFilter)
  })
})

describe('an event filter', () => {
  const accepts = (
    json: JsonObject,
    event: { type: string; sender?: string; content?: JsonObject },
  ) => (parseEventFilter(json) as EventFilter).accepts({ content: {}, ...event })

  test('takes types by wildcard, and leaving wins over taking', () => {
    const json = { types: ['m.room.*', 'a?b'], not_types: ['*.member', 'm.room.x*y'] }
    const types = [
      'm.room.name',
      'm.room.member',
      'm.room.x12y',
      'm.roomx',
      'a?b',
      'axb',
      'm.room.?',
    ]
    expect(types.filter((type) => accepts(json, { type }))).toEqual([
      'm.room.name',
      'a?b',
      'm.room.?',
    ])
    expect(accepts({ types: ['*?*'] }, { type: 'what?' })).toBe(true)
    expect(accepts({ types: ['*?*'] }, { type: 'what' })).toBe(false)
    expect(accepts({ types: [] }, { type: 'm.x' })).toBe(false)
  })

  test('takes types by wildcard as globs do, whatever stands between the stars', () => {
    const random = new Random(7)
    const text = (letters: string, most: number) =>
      Array.from({ length: random.below(most) }, () => letters[random.below(letters.length)]).join(
        '',
      )
    let taken = 0
    for (let n = 0; n < 5_000; n++) {
      const [glob, type] = [text('ab*', 7), text('ab', 7)]
      const fits = accepts({ types: [glob] }, { type })
      expect([glob, type, fits]).toEqual([glob, type, matchesGlob(glob, type)])
      if (fits) taken++
    }
    expect(taken).toBeGreaterThan(500)
  })

  test('takes senders by name; what has none passes unless some are asked for', () => {
    const json = { senders: ['@a:b', '@c:d'], not_senders: ['@c:d'] }
    expect(accepts(json, { type: 'm.x', sender: '@a:b' })).toBe(true)
    expect(accepts(json, { type: 'm.x', sender: '@c:d' })).toBe(false)
    expect(accepts(json, { type: 'm.x', sender: '@*:b' })).toBe(false)
    expect(accepts(json, { type: 'm.x' })).toBe(false)
    expect(accepts({ not_senders: ['@c:d'] }, { type: 'm.x' })).toBe(true)
  })

  test('may ask for a URL, or for none', () => {
    const withUrl = { type: 'm.x', content: { url: 'mxc://a/b' } }
    const inherited = { type: 'm.x', content: parseJson('{"__proto__":{"url":1}}') as JsonObject }
    expect([withUrl, inherited].map((event) => accepts({ contains_url: true }, event))).toEqual([
      true,
      false,
    ])
    expect([withUrl, inherited].map((event) => accepts({ contains_url: false }, event))).toEqual([
      false,
      true,
    ])
  })
})

test('paths are split at dots that no backslash guards', () => {
  expect(parsePath('content.body')).toEqual(['content', 'body'])
  expect(parsePath('content.m\\.relates_to')).toEqual(['content', 'm.relates_to'])
  expect(parsePath('content.m\\\\foo')).toEqual(['content', 'm\\foo'])
  expect(parsePath('a\\x.b\\')).toEqual(['a\\x', 'b\\'])
  expect(parsePath('a..b')).toEqual(['a', '', 'b'])
  expect(parsePath('')).toEqual([''])
})

test('only the fields that were asked for are left', () => {
  const event = parseJson(
    '{"type":"m","content":{"body":"x","a":{"b":1,"c":2},"__proto__":{"d":3}},"sender":"@a:b"}',
  ) as JsonObject
  const fields = (...paths: string[]) => JSON.stringify(project(event, paths.map(parsePath)))
  expect(fields('type', 'content.body')).toBe('{"type":"m","content":{"body":"x"}}')
  expect(fields('content.a.b', 'content.a.c')).toBe('{"content":{"a":{"b":1,"c":2}}}')
  expect(fields('content.a', 'content.a.b')).toBe('{"content":{"a":{"b":1,"c":2}}}')
  expect(fields('content.a.b', 'content')).toBe(JSON.stringify({ content: event['content'] }))
  expect(fields('content.__proto__.d')).toBe('{"content":{"__proto__":{"d":3}}}')
  expect(fields('nothing', 'content.no', 'type.x', '__proto__', 'constructor')).toBe('{}')
  expect(fields()).toBe('{}')
})
