import { expect, test } from 'bun:test'
import { parseJson, requireCanonicalJson } from '#core/canonical-json.ts'
import { buildEvent, type ProtoEvent, refusalOf, sealEvent } from '#core/event/build.ts'
import { referenceHash } from '#core/event/hash.ts'
import { receivePdu } from '#core/event/receive.ts'
import type { Json, JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import {
  eventId,
  keys,
  lookup,
  message,
  now,
  roomIdOf,
  seal,
  version,
  versions,
} from './fixtures.ts'

const signing = { serverName: 'hs1', key: keys['hs1']! }

const proto = (of: RoomVersion, changes: Partial<ProtoEvent> = {}): ProtoEvent => ({
  roomId: roomIdOf(of),
  type: 'm.room.message',
  sender: '@alice:hs1',
  content: { msgtype: 'm.text', body: 'hello' },
  prevEvents: [eventId(of, 'before')],
  authEvents: [eventId(of, 'create')],
  depth: 7,
  originServerTs: 1_500_000,
  ...(of.eventFormat === 'named' && {
    named: {
      eventId: '$new:hs1',
      hashes: new Map(['before', 'create'].map((name) => [eventId(of, name), `hash of ${name}`])),
    },
  }),
  ...changes,
})

const build = (of: RoomVersion, changes: Partial<ProtoEvent> = {}) => {
  const built = buildEvent(of, proto(of, changes), signing)
  if (built.outcome !== 'built') throw new Error(built.reason)
  return built
}

test('what we build, others accept, and read the same from it', () => {
  for (const of of versions)
    for (const changes of [{}, { stateKey: '' }, { stateKey: '@alice:hs1', content: {} }]) {
      const { event, text } = build(of, changes)
      expect(text).toBe(requireCanonicalJson(event.pdu))
      const received = receivePdu(of, parseJson(text), { keys: lookup, now, roomId: roomIdOf(of) })
      expect(received).toEqual({
        outcome: 'accept',
        redacted: false,
        rejection: undefined,
        event,
        text,
      })
      expect(event).toMatchObject({ depth: 7, originServerTs: 1_500_000 })
    }
})

test('an event that is put together of pieces is the one that sealing a template makes', () => {
  const stateless = { stateKey: undefined }
  const contents: JsonObject[] = [
    {},
    { z: 1, a: { y: [true, null, 'ü'], b: '"\\\n' }, '\ue000': 1, '😀': 2, 10: 'x', 9: 'y' },
    { membership: 'join', displayname: 'Ann', third_party_invite: { signed: { a: 1 }, b: 2 } },
    { next_batch_id: 'x', creator: '@a:b', users: { '@b:hs1': 1, '@a:hs1': 2 }, redacts: '$x' },
  ]
  const types = ['m.room.message', 'm.room.member', 'm.room.power_levels', 'm.room.create', 'a"b']
  for (const of of versions.filter((each) => each.strictCanonicalJson))
    for (const type of types)
      for (const content of contents)
        for (const more of [stateless, { stateKey: 'k"' }, { depth: 0, originServerTs: 0 }]) {
          if (of.createEventIsRoomId && type === 'm.room.create') continue
          const { event, text } = build(of, { type, content, ...more })
          const { hashes: _, signatures: __, ...template } = parseJson(text) as JsonObject
          const sealed = sealEvent(of, template, signing)
          expect(sealed).toEqual({ outcome: 'built', event, text })
        }
})

test('events of v1 and v2 name themselves and hash what they refer to', () => {
  for (const of of versions) {
    const { event } = build(of)
    const named = of.eventFormat === 'named'
    expect(event.pdu.event_id).toBe(named ? '$new:hs1' : undefined)
    expect(event.pdu['prev_events']).toEqual(
      named ? [['$before:hs1', { sha256: 'hash of before' }]] : [eventId(of, 'before')],
    )
    expect(event.prevEvents).toEqual([eventId(of, 'before')])
  }
  expect(() => build(version('1'), { prevEvents: ['$other:hs1'] })).toThrow('$other:hs1')
})

test('the create event of v12 has no room ID, and is the room', () => {
  const create = { type: 'm.room.create', stateKey: '', prevEvents: [], authEvents: [] }
  const { event } = build(version('12'), { ...create, roomId: undefined })
  expect(event.roomId).toBe(`!${event.eventId.slice(1)}`)
  expect(event.pdu.room_id).toBeUndefined()
})

test('a redaction names its target where the version keeps it', () => {
  for (const of of versions) {
    const target = eventId(of, 'target')
    const { event } = build(of, {
      type: 'm.room.redaction',
      redacts: target,
      content: { reason: 'x' },
    })
    expect(event.redacts).toBe(target)
    expect(event.pdu['redacts']).toBe(of.redactsAtTopLevel ? target : undefined)
    expect(event.content).toEqual(
      of.redactsAtTopLevel ? { reason: 'x' } : { reason: 'x', redacts: target },
    )
  }
})

test('floats are refused since v6, and hashed as others will read them before', () => {
  for (const of of versions) {
    const content = { a: 0.00001, b: 1.5, c: [1e22] }
    const built = buildEvent(of, proto(of, { content }), signing)
    if (of.strictCanonicalJson) {
      expect(built.outcome).toBe('bad-json')
      continue
    }
    if (built.outcome !== 'built') throw new Error(built.reason)
    expect(built.text).toContain('"content":{"a":1e-05,"b":1.5,"c":[10000000000000000000000]}')
    expect(JSON.stringify(built.event.pdu)).toBe(built.text)
    const received = receivePdu(of, parseJson(built.text), { keys: lookup, now })
    expect(received).toMatchObject({ outcome: 'accept', redacted: false })
  }
})

test('an event that another server would find too large is refused', () => {
  const of = version('11')
  const sizeOf = (length: number) => {
    const built = buildEvent(of, proto(of, { content: { body: 'x'.repeat(length) } }), signing)
    return built.outcome === 'built' ? Buffer.byteLength(built.text) : built.outcome
  }
  const base = sizeOf(0) as number
  // 14 bytes are left for the `unsigned` that Synapse adds and counts.
  expect(sizeOf(65_536 - 14 - base)).toBe(65_536 - 14)
  expect(sizeOf(65_536 - 14 - base + 1)).toBe('too-large')
})

test('what a client cannot send is refused with a reason', () => {
  const of = version('11')
  const told = (changes: Partial<ProtoEvent>): unknown[] => {
    const built = buildEvent(of, proto(of, changes), signing)
    if (built.outcome === 'built') throw new Error('It was built')
    const { status, errcode } = refusalOf(built)
    return [built.outcome, status, errcode]
  }
  const malformed = ['malformed', 400, 'M_INVALID_PARAM']
  expect(told({ type: 'x'.repeat(256) })).toEqual(malformed)
  expect(told({ stateKey: 'a\0b' })).toEqual(malformed)
  expect(told({ content: [] as never })).toEqual(malformed)
  const noJson = ['bad-json', 400, 'M_BAD_JSON']
  expect(told({ content: { a: '\ud800' } })).toEqual(noJson)
  expect(told({ content: { a: 1.5 } })).toEqual(noJson)
  const large = { content: { a: 'x'.repeat(70_000) } }
  expect(told(large)).toEqual(['too-large', 413, 'M_TOO_LARGE'])
})

test('a room whose depth is at the limit stays there', () => {
  const { event } = build(version('11'), { depth: Number.MAX_SAFE_INTEGER + 1 })
  expect(event.depth).toBe(Number.MAX_SAFE_INTEGER)
})

test('a template of another server is hashed and signed anew, without what it should not hold', () => {
  for (const of of versions) {
    const template = message(of, {
      unsigned: { age: 1 },
      origin: 'hs1',
      hashes: { sha256: 'old' },
      signatures: { hs2: { 'ed25519:2': 'x' } },
      ...(of.eventFormat === 'hashed' && { event_id: '$noted:hs2' }),
    })
    const built = sealEvent(of, template, signing)
    if (built.outcome !== 'built') throw new Error(built.reason)
    const json = parseJson(built.text) as Record<string, Json>
    expect(json['unsigned']).toBeUndefined()
    expect(json['origin']).toBe('hs1')
    expect(Object.keys(json['signatures'] as JsonObject)).toEqual(['hs1'])
    if (of.eventFormat === 'hashed') {
      expect(json['event_id']).toBeUndefined()
      expect(built.event.eventId).toBe(`$${referenceHash(of, json)}`)
    }
    const received = receivePdu(of, json, { keys: lookup, now })
    expect(received).toMatchObject({ outcome: 'accept', redacted: false })
  }
})

test('a template is not changed by sealing it', () => {
  const of = version('11')
  const template = message(of)
  const before = JSON.stringify(template)
  sealEvent(of, template, signing)
  seal(of, template)
  expect(JSON.stringify(template)).toBe(before)
})
