import { expect, test } from 'bun:test'
import { parsePdu } from '#core/event/check.ts'
import {
  clientEvent,
  federationEvent,
  stripState,
  strippedEvent,
} from '#core/event/client-format.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { redactEvent } from '#core/event/receive.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { eventId, message, roomIdOf, seal, version, versions } from './fixtures.ts'

const parse = (of: RoomVersion, changes: JsonObject = {}): RoomEvent => {
  const parsed = parsePdu(of, seal(of, message(of, changes)))
  if ('refused' in parsed) throw new Error(parsed.refused)
  return parsed.ok
}

test('clients get the same form of events of all versions, without what servers need', () => {
  for (const of of versions) {
    const event = parse(of, { extra: 1, state_key: '' })
    expect(clientEvent(event, { now: 1_000_007 })).toEqual({
      content: { body: 'hello', msgtype: 'm.text' },
      event_id: event.eventId,
      origin_server_ts: 1_000_000,
      room_id: roomIdOf(of),
      sender: '@alice:hs1',
      state_key: '',
      type: 'm.room.message',
      unsigned: { age: 7 },
    })
  }
})

test('a message has no state key, and /sync needs no room ID', () => {
  const event = clientEvent(parse(version('11')), { withoutRoomId: true })
  expect('state_key' in event).toBe(false)
  expect('room_id' in event).toBe(false)
  expect(event['unsigned']).toEqual({})
})

test('the create event of v12 gets its room ID back', () => {
  const of = version('12')
  const { room_id: _, ...bare } = message(of, { type: 'm.room.create', state_key: '' })
  const parsed = parsePdu(of, seal(of, bare))
  if ('refused' in parsed) throw new Error(parsed.refused)
  expect(clientEvent(parsed.ok)['room_id']).toBe(`!${parsed.ok.eventId.slice(1)}`)
})

test('the target of a redaction is in both places, in every version', () => {
  for (const of of versions) {
    const target = eventId(of, 'target')
    const where = of.redactsAtTopLevel
      ? { redacts: target, content: { reason: 'x', redacts: '$lie:hs1' } }
      : { redacts: '$lie:hs1', content: { reason: 'x', redacts: target } }
    const event = parse(of, { type: 'm.room.redaction', ...where })
    expect(clientEvent(event)).toMatchObject({
      redacts: target,
      content: { reason: 'x', redacts: target },
    })
    // A key of that name on another event is nothing.
    expect('redacts' in clientEvent(parse(of, { redacts: target }))).toBe(false)
  }
})

test('what the caller knows is put in `unsigned`', () => {
  const event = parse(version('11'))
  const unsigned = {
    membership: 'join',
    prev_content: { a: 1 },
    replaces_state: '$old',
    transaction_id: 't1',
    redacted_because: { type: 'm.room.redaction' },
  }
  expect(clientEvent(event, { unsigned, now: 1_000_000 })['unsigned']).toEqual({
    age: 0,
    ...unsigned,
  })
})

test('a redacted event shows what redaction leaves', () => {
  for (const of of versions) {
    const event = redactEvent(parse(of, { extra: 1 }))
    expect(clientEvent(event)).toMatchObject({ content: {}, event_id: event.eventId })
  }
})

test('the federation form is the PDU', () => {
  const { pdu } = parse(version('11'))
  expect(federationEvent(pdu)).toBe(pdu)
  expect(federationEvent(pdu, { age: 1 })).toEqual({ ...pdu, unsigned: { age: 1 } })
})

test('stripped state has four keys, whatever another server put in it (CVE-2024-52815)', () => {
  const event = parse(version('11'), { type: 'm.room.name', state_key: '', content: { name: 'x' } })
  const stripped = {
    content: { name: 'x' },
    sender: '@alice:hs1',
    state_key: '',
    type: 'm.room.name',
  }
  expect(strippedEvent(event.pdu)).toEqual(stripped)
  expect(
    stripState([
      event.pdu,
      { ...stripped, event_id: '$x' },
      null,
      5,
      {},
      { ...stripped, state_key: 5 },
    ]),
  ).toEqual([stripped, stripped])
  expect(stripState(undefined)).toEqual([])
  expect(stripState({})).toEqual([])
})
