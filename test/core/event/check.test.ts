import { describe, expect, test } from 'bun:test'
import { parseJson, requireCanonicalJson } from '#core/canonical-json.ts'
import { parsePdu } from '#core/event/check.ts'
import { referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { eventId, message, messageOfSize, roomIdOf, seal, version, versions } from './fixtures.ts'

const accepted = (of: string, json: unknown): RoomEvent => {
  const parsed = parsePdu(version(of), json)
  if ('refused' in parsed) throw new Error(parsed.refused)
  return parsed.ok
}
const refusal = (of: string, json: unknown): string => {
  const parsed = parsePdu(version(of), json)
  return 'refused' in parsed ? parsed.refused : 'not refused'
}

test('a sound event of each version is accepted, with its IDs worked out', () => {
  for (const of of versions) {
    const pdu = seal(of, message(of, { state_key: '' }))
    const event = accepted(of.id, pdu)
    expect(event).toMatchObject({
      roomId: roomIdOf(of),
      sender: '@alice:hs1',
      type: 'm.room.message',
      stateKey: '',
      depth: 5,
      originServerTs: 1_000_000,
      prevEvents: [eventId(of, 'before')],
      authEvents: [eventId(of, 'create'), eventId(of, 'member')],
      redacts: undefined,
      pdu,
    })
    expect(event.eventId).toBe(
      of.eventFormat === 'named' ? '$message:hs1' : `$${referenceHash(of, pdu)}`,
    )
  }
})

test('`unsigned` is nobody’s word and is dropped, other unknown keys stay', () => {
  const pdu = seal(version('11'), message(version('11'), { unknown: { a: [1] } }))
  expect(accepted('11', { ...pdu, unsigned: { age: 1.5, redacted_because: {} } }).pdu).toEqual(
    pdu as never,
  )
})

test('keys named __proto__ survive', () => {
  const text = requireCanonicalJson(seal(version('11'), message(version('11')))).replace(
    '"content":{',
    '"__proto__":{"type":"m.room.create"},"content":{"__proto__":{"a":1},',
  )
  const { pdu, type } = accepted('11', parseJson(text))
  expect(type).toBe('m.room.message')
  expect(JSON.stringify(pdu)).toBe(text)
})

describe('what is no event is refused', () => {
  test('a value that is no object', () => {
    for (const json of [null, 5, 'x', [], undefined, [{}], parseJson('1.5')])
      for (const of of versions) expect(refusal(of.id, json)).toBe('The event is not an object')
  })

  const sound = seal(version('11'), message(version('11')))
  const bad: Record<string, (Json | undefined)[]> = {
    type: [undefined, null, 5, {}, 'x'.repeat(256), 'é'.repeat(128), 'a\0b', '\ud800'],
    sender: [
      undefined,
      null,
      5,
      '',
      'alice',
      '@alice',
      '@alice:',
      '@a\0:hs1',
      '@a:hs 1',
      `@${'a'.repeat(252)}:hs1`,
    ],
    state_key: [null, 5, {}, [], 'x'.repeat(256), 'a\0b', '\udc00'],
    room_id: [
      undefined,
      null,
      5,
      '',
      'room',
      '!room',
      '@room:hs1',
      '!a\0:hs1',
      `!${'a'.repeat(43)}`,
    ],
    content: [undefined, null, 5, [], 'x'],
    depth: [undefined, null, '5', -1, 1.5, 2 ** 53, {}],
    origin_server_ts: [undefined, null, '5', 1.5, 2 ** 53, []],
    hashes: [
      undefined,
      null,
      [],
      {},
      { sha256: 5 },
      { sha256: 'a' },
      { sha256: '?' },
      { md5: 'x' },
    ],
    signatures: [undefined, null, [], 'x', { hs1: 'x' }, { hs1: [] }, { hs1: { 'ed25519:1': 5 } }],
    prev_events: [
      undefined,
      null,
      {},
      'x',
      [5],
      [['$a:hs1', {}]],
      ['$a:hs1'],
      ['$short'],
      [`!${'a'.repeat(42)}A`],
    ],
    auth_events: [undefined, null, {}, 'x', [5], [[]], ['$a:hs1'], [null]],
  }
  for (const [key, values] of Object.entries(bad))
    test(`a bad \`${key}\``, () => {
      for (const value of values) {
        const { [key]: _, ...rest } = sound
        const json = value === undefined ? rest : { ...rest, [key]: value }
        expect({ value, refused: refusal('11', json) }).toMatchObject({
          refused: expect.stringContaining(`\`${key}`),
        })
      }
    })

  test('a bad event ID or reference of v1 and v2', () => {
    for (const id of ['1', '2']) {
      const sealed = seal(version(id), message(version(id)))
      for (const eventId of [undefined, 5, 'x', '$a', '$a:', '$a\0:hs1', `$${'a'.repeat(256)}:hs1`])
        expect(refusal(id, { ...sealed, event_id: eventId })).toContain('`event_id`')
      for (const entry of [
        5,
        '$a:hs1',
        [],
        ['$a:hs1'],
        ['$a', {}],
        ['$a:hs1', 5],
        ['$a:hs1', {}, 5],
      ])
        expect(refusal(id, { ...sealed, prev_events: [entry] })).toContain('`prev_events`')
    }
  })
})

test('at most 10 auth events and 20 prev events, except in backfill', () => {
  for (const of of versions) {
    const ids = Array.from({ length: 21 }, (_, index) => {
      const id = eventId(of, `e${index}`)
      return of.eventFormat === 'named' ? [id, {}] : id
    })
    const check = (prev: number, auth: number, anyListLength = false) => {
      const lists = { prev_events: ids.slice(0, prev), auth_events: ids.slice(0, auth) }
      return 'ok' in parsePdu(of, seal(of, message(of, lists)), { anyListLength })
    }
    expect(check(20, 10)).toBe(true)
    expect(check(0, 0)).toBe(true)
    expect(check(21, 10)).toBe(false)
    expect(check(20, 11)).toBe(false)
    expect(check(21, 21, true)).toBe(true)
  }
})

test('65536 bytes are the limit, signatures counted and `unsigned` not', () => {
  for (const of of versions) {
    const largest = messageOfSize(of, 65_536)
    expect(Buffer.byteLength(requireCanonicalJson(largest))).toBe(65_536)
    expect('ok' in parsePdu(of, largest)).toBe(true)
    expect('ok' in parsePdu(of, { ...largest, unsigned: { a: 'x'.repeat(100) } })).toBe(true)
    expect(refusal(of.id, messageOfSize(of, 65_537))).toContain('65536')
    const more = { ...(largest['signatures'] as JsonObject), hs2: {} }
    expect(refusal(of.id, { ...largest, signatures: more })).toContain('65536')
  }
  // Bytes, not characters.
  const wide = seal(
    version('11'),
    message(version('11'), { content: { body: 'é'.repeat(33_000) } }),
  )
  expect(refusal('11', wide)).toContain('65536')
})

test('floats, big integers and lone surrogates pass only where canonical JSON is not enforced', () => {
  for (const of of versions)
    for (const value of ['1.5', '1.0', '2e3', '9007199254740992', '"\\ud800"']) {
      const text = requireCanonicalJson(seal(of, message(of))).replace('"hello"', value)
      const parsed = parsePdu(of, parseJson(text))
      if (of.strictCanonicalJson)
        expect(parsed).toEqual({ refused: 'The event is not canonical JSON' })
      else expect('ok' in parsed && JSON.stringify(parsed.ok.pdu)).toBe(text)
    }
})

test('a depth of 64 bits passes only where canonical JSON is not enforced', () => {
  for (const of of versions) {
    const depth = (digits: string) => {
      const text = JSON.stringify(seal(of, message(of))).replace('"depth":5', `"depth":${digits}`)
      const parsed = parsePdu(of, parseJson(text))
      return 'ok' in parsed ? parsed.ok.depth : undefined
    }
    expect(depth('9007199254740991')).toBe(Number.MAX_SAFE_INTEGER)
    const beyond = of.strictCanonicalJson ? undefined : Number.MAX_SAFE_INTEGER
    expect(depth('9223372036854775807')).toBe(beyond)
    expect(depth('9223372036854775808')).toBeUndefined()
    expect(depth('-9223372036854775807')).toBeUndefined()
    expect(depth('5.0')).toBeUndefined()
    expect(depth('99999999999999999999999')).toBeUndefined()
  }
})

test('a content that nests without end is refused, not fatal', () => {
  for (const of of versions) {
    const sealed = seal(of, message(of))
    for (const levels of [2_000, 30_000]) {
      const nested = JSON.parse('['.repeat(levels) + ']'.repeat(levels)) as Json
      expect(refusal(of.id, { ...sealed, content: { nested } })).toContain('not canonical')
    }
  }
})

describe('the room', () => {
  const create = (of: string, changes: JsonObject = {}) =>
    seal(
      version(of),
      message(version(of), {
        type: 'm.room.create',
        state_key: '',
        auth_events: [],
        prev_events: [],
        ...changes,
      }),
    )

  test('of a create event since v12 is its own ID', () => {
    const { room_id: _, ...bare } = message(version('12'), { type: 'm.room.create', state_key: '' })
    const event = accepted('12', seal(version('12'), bare))
    expect(event.roomId).toBe(`!${event.eventId.slice(1)}`)
    expect('room_id' in event.pdu).toBe(false)
    expect(refusal('12', create('12'))).toContain('no `room_id`')
    for (const state_key of ['x', '@alice:hs1'])
      expect(refusal('12', seal(version('12'), { ...bare, state_key }))).toContain('`state_key`')
    const { state_key: __, ...stateless } = bare
    expect(refusal('12', seal(version('12'), stateless))).toContain('`state_key`')
    expect(accepted('11', create('11')).roomId).toBe('!room:hs1')
    expect(refusal('11', seal(version('11'), bare))).toContain('`room_id`')
  })

  test('must be the one that was expected', () => {
    for (const of of versions) {
      const pdu = seal(of, message(of))
      expect('ok' in parsePdu(of, pdu, { roomId: roomIdOf(of) })).toBe(true)
      expect(parsePdu(of, pdu, { roomId: '!other:hs1' })).toEqual({
        refused: 'The event is of another room',
      })
    }
    const { room_id: _, ...bare } = message(version('12'), { type: 'm.room.create', state_key: '' })
    expect(
      parsePdu(version('12'), seal(version('12'), bare), { roomId: roomIdOf(version('12')) }),
    ).toEqual({
      refused: 'The event is of another room',
    })
  })
})

test('the target of a redaction is read where the version keeps it, and only there', () => {
  for (const of of versions) {
    const target = eventId(of, 'target')
    const at = (changes: JsonObject) =>
      accepted(of.id, seal(of, message(of, { type: 'm.room.redaction', ...changes }))).redacts
    expect(at({ redacts: target })).toBe(of.redactsAtTopLevel ? target : undefined)
    expect(at({ content: { redacts: target } })).toBe(of.redactsAtTopLevel ? undefined : target)
    for (const odd of [5, 'a\0b', {}, 'x'.repeat(300)])
      expect(at({ redacts: odd, content: { redacts: odd } })).toBeUndefined()
  }
})

test('in v3+ an event_id on the wire is a key like any other', () => {
  const of = version('11')
  const pdu = seal(of, message(of, { event_id: '$lie:hs1' }))
  const event = accepted('11', pdu)
  expect(event.eventId).toBe(`$${referenceHash(of, pdu)}`)
  expect(event.eventId).not.toBe(accepted('11', seal(of, message(of))).eventId)
})
