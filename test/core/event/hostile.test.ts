import { expect, test } from 'bun:test'
import { canonicalJson, parseJson } from '#core/canonical-json.ts'
import { clientEvent } from '#core/event/client-format.ts'
import { eventIdOf } from '#core/event/hash.ts'
import { parseEdu } from '#core/event/edu.ts'
import { receivePdu } from '#core/event/receive.ts'
import { parseFilter } from '#core/filter.ts'
import { isObject, type Json, type JsonObject, setKey } from '#core/json.ts'
import { checkKeyDocument } from '#core/server-keys.ts'
import { relationOf } from '#core/relations.ts'
import { lookup, message, now, seal, sign, versions } from './fixtures.ts'
import { Random, randomJson, randomKey } from '#test/core/random.ts'

/** A value that no honest server sends. */
function hostile(random: Random): Json {
  const kind = random.below(6)
  if (kind === 0) return parseJson(random.pick(['1.5', '1e999', '-0.0', '99999999999999999999']))!
  if (kind === 1) return 'x'.repeat(random.pick([255, 256, 70_000]))
  if (kind === 2) return Array.from({ length: random.pick([11, 21, 10_000]) }, () => '$a:b')
  if (kind === 3) return random.pick(['\0', '\ud800', '@:', '@a:b', '!a:b', '$a:b', ''])
  return randomJson(random)
}

/** Changes some place in a value, at any depth. */
function mutate(random: Random, value: JsonObject): JsonObject {
  const copy = { ...value }
  const key = random.next() < 0.8 ? random.pick(Object.keys(copy)) : randomKey(random)
  const inner = Object.hasOwn(copy, key) ? copy[key] : undefined
  if (isObject(inner) && Object.keys(inner).length > 0 && random.next() < 0.6)
    setKey(copy, key, mutate(random, inner))
  else if (random.next() < 0.2) delete copy[key]
  else setKey(copy, key, hostile(random))
  return copy
}

test('no mutated event is fatal, and what is accepted keeps its ID over the wire', () => {
  let accepted = 0
  for (let seed = 0; seed < 6_000; seed++) {
    const random = new Random(seed)
    const of = random.pick(versions)
    const type = random.pick([
      'm.room.message',
      'm.room.member',
      'm.room.create',
      'm.room.redaction',
    ])
    let pdu = seal(of, message(of, { type, state_key: '@alice:hs1' }))
    for (let count = random.below(3); count >= 0; count--) pdu = mutate(random, pdu)
    // Half of them signed again, so that they come further than the signature.
    const canonical = canonicalJson(pdu, of.strictCanonicalJson ? 'strict' : 'tolerant')
    if (random.next() < 0.5 && canonical !== undefined && isObject(pdu['hashes']))
      pdu = sign(of, { ...pdu, signatures: {} }, 'hs1')
    const received = receivePdu(of, pdu, { keys: lookup, now })
    if (received.outcome !== 'accept') continue
    accepted++
    const { event } = received
    const again = parseJson(JSON.stringify(event.pdu)) as JsonObject
    expect({ seed, id: eventIdOf(of, again) }).toEqual({ seed, id: event.eventId })
    expect(receivePdu(of, again, { keys: lookup, now })).toMatchObject({
      outcome: 'accept',
      event: { eventId: event.eventId, content: event.content },
    })
    clientEvent(event, { now })
    relationOf(event.content)
  }
  // Enough of them must come through for this to mean anything.
  expect(accepted).toBeGreaterThan(500)
})

test('no random value is fatal to what reads JSON from the network', () => {
  const types = [
    'm.typing',
    'm.presence',
    'm.receipt',
    'm.direct_to_device',
    'm.device_list_update',
  ]
  for (let seed = 0; seed < 3_000; seed++) {
    const random = new Random(seed)
    const value = random.next() < 0.5 ? randomJson(random) : hostile(random)
    for (const edu_type of types) parseEdu({ edu_type, content: value }, 'hs1')
    parseEdu(value, 'hs1')
    parseFilter(value)
    parseFilter({ room: { timeline: value }, event_fields: value })
    expect(checkKeyDocument(value, 'hs1')).toBeString()
    const keys = { server_name: 'hs1', valid_until_ts: 1, verify_keys: value }
    expect(checkKeyDocument(keys, 'hs1')).toBeString()
  }
})
