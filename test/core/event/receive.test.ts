import { describe, expect, test } from 'bun:test'
import { receivePdu } from '#core/event/receive.ts'
import { checkEventSignatures, neededKeys, signersOf } from '#core/event/signatures.ts'
import type { JsonObject } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { KeyLookup } from '#core/server-keys.ts'
import { keys, lookup, message, now, seal, serverKey, sign, version, versions } from './fixtures.ts'

const receive = (of: RoomVersion, json: unknown, known: KeyLookup = lookup) =>
  receivePdu(of, json, { keys: known, now })

const member = (of: RoomVersion, content: JsonObject, changes: JsonObject = {}) =>
  message(of, { type: 'm.room.member', state_key: '@alice:hs1', content, ...changes })

test('a sound event is accepted whole', () => {
  for (const of of versions) {
    const pdu = seal(of, message(of))
    expect(receive(of, pdu)).toMatchObject({
      outcome: 'accept',
      redacted: false,
      rejection: undefined,
      event: { pdu, type: 'm.room.message' },
    })
  }
})

test('1. what has not the format of an event is dropped', () => {
  for (const of of versions) {
    const { sender: _, ...pdu } = seal(of, message(of))
    expect(receive(of, pdu)).toMatchObject({ outcome: 'drop', reason: '`sender` is not a user ID' })
  }
})

describe('2. signatures', () => {
  test('an event that the sender’s server has not signed is dropped', () => {
    for (const of of versions) {
      const drop = { outcome: 'drop', reason: 'The event is not validly signed by hs1' }
      expect(receive(of, seal(of, message(of), 'hs2'))).toEqual(drop as never)
      expect(receive(of, { ...seal(of, message(of)), signatures: {} })).toEqual(drop as never)
      const pdu = seal(of, message(of))
      expect(receive(of, { ...pdu, origin_server_ts: 5 })).toEqual(drop as never)
      expect(receive(of, { ...pdu, sender: '@bob:hs1' })).toEqual(drop as never)
    }
  })

  test('a key that is not known is asked for, with the time at which it must be valid', () => {
    for (const of of versions) {
      const pdu = seal(of, message(of))
      const minimumValidUntilTs = of.enforceKeyValidity ? 1_000_000 : 0
      const needed = [{ server: 'hs1', keyIds: ['ed25519:1'], minimumValidUntilTs }]
      expect(receive(of, pdu, () => undefined)).toEqual({ outcome: 'missing', keys: needed })
      expect(receivePdu(of, pdu, { keys: () => undefined, now, lastTry: true })).toEqual({
        outcome: 'drop',
        reason: 'The keys of hs1 cannot be had',
      })
    }
  })

  test('since v5 a key that was no longer valid is asked for again; before, it does', () => {
    const stale: KeyLookup = () => ({ ...serverKey('hs1'), validUntilTs: 999_999 })
    for (const of of versions)
      expect(receive(of, seal(of, message(of)), stale).outcome).toBe(
        of.enforceKeyValidity ? 'missing' : 'accept',
      )
  })

  test('an old key does up to the moment it expired, and asking again would not help', () => {
    const old =
      (validUntilTs: number): KeyLookup =>
      () => ({ ...serverKey('hs1'), validUntilTs, old: true })
    for (const of of versions) {
      expect(receive(of, seal(of, message(of)), old(1_000_000)).outcome).toBe('accept')
      expect(receive(of, seal(of, message(of)), old(999_999)).outcome).toBe('drop')
    }
  })

  test('unknown keys beside a known one are skipped, but a known one must hold', () => {
    for (const of of versions) {
      const pdu = seal(of, message(of))
      const more = (extra: JsonObject) => {
        const own = (pdu['signatures'] as { hs1: JsonObject }).hs1
        return { ...pdu, signatures: { hs1: { ...extra, ...own } } }
      }
      const bad = 'A'.repeat(86)
      expect(receive(of, more({ 'ed25519:unknown': bad })).outcome).toBe('accept')
      expect(receive(of, more({ 'rsa:1': bad })).outcome).toBe('accept')
      const both: KeyLookup = (server) => serverKey(server)
      expect(receive(of, more({ 'ed25519:other': bad }), both).outcome).toBe('drop')
      // The key of a policy server is in no document; other rules ask for it.
      expect(receive(of, more({ 'ed25519:policy_server': bad }), both).outcome).toBe('accept')
    }
  })

  test('in v1 and v2 the domain of the event ID must have signed too', () => {
    for (const of of versions) {
      const pdu = message(of, { event_id: '$message:hs2' })
      const named = of.eventFormat === 'named'
      expect(receive(of, seal(of, pdu, 'hs1')).outcome).toBe(named ? 'drop' : 'accept')
      expect(receive(of, seal(of, pdu, 'hs1', 'hs2')).outcome).toBe('accept')
      expect(receive(of, seal(of, pdu, 'hs2')).outcome).toBe('drop')
    }
  })

  test('a third-party invite needs no signature of the sender’s server', () => {
    const content = { membership: 'invite', third_party_invite: { signed: { token: 'x' } } }
    for (const of of versions) {
      const pdu = seal(of, member(of, content, { state_key: '@bob:hs2' }), 'hs2')
      const event = receive(of, pdu)
      // In v1 and v2 the event ID, here of hs1, asks for one all the same.
      expect(event.outcome).toBe(of.eventFormat === 'named' ? 'drop' : 'accept')
    }
  })

  test('a third-party invite that its hash does not cover is a forgery, and dropped', () => {
    const content = { membership: 'invite' }
    for (const of of versions) {
      const pdu = seal(of, member(of, content, { state_key: '@bob:hs2' }), 'hs2')
      const forged = { ...pdu, content: { ...content, third_party_invite: {} } }
      if (of.eventFormat === 'named' || !of.redactionV11)
        // What is left after redaction is a plain invite of @alice:hs1, which hs1 never signed.
        expect(receive(of, forged).outcome).toBe('drop')
      // Since v11 the place of `third_party_invite` survives, and the auth rules want it signed.
      else expect(receive(of, forged)).toMatchObject({ outcome: 'accept', redacted: true })
    }
  })

  test('a restricted join that the authorising server has not signed is rejected, not dropped', () => {
    const content = { membership: 'join', join_authorised_via_users_server: '@carol:hs3' }
    for (const of of versions) {
      const alone = receive(of, seal(of, member(of, content), 'hs1'))
      const rejection = of.restrictedJoins ? 'The event is not validly signed by hs3' : undefined
      expect(alone).toMatchObject({ outcome: 'accept', rejection })
      const both = receive(of, seal(of, member(of, content), 'hs1', 'hs3'))
      expect(both).toMatchObject({ outcome: 'accept', rejection: undefined })
      // Signed by the authorising server alone it is still not the sender's.
      expect(receive(of, seal(of, member(of, content), 'hs3')).outcome).toBe('drop')
      const wrong = sign(of, seal(of, member(of, content), 'hs1'))
      const forged = {
        ...wrong,
        signatures: {
          ...(wrong['signatures'] as JsonObject),
          hs3: { 'ed25519:3': 'A'.repeat(86) },
        },
      }
      expect(receive(of, forged)).toMatchObject({ outcome: 'accept', rejection })
    }
  })

  test('an authorising user that is no user cannot have signed', () => {
    for (const user of [5, null, 'carol', '@carol', '@carol:', '@carol:a b'])
      for (const of of versions) {
        const content = { membership: 'join', join_authorised_via_users_server: user }
        const pdu = seal(of, member(of, content))
        const own = pdu['signatures'] as JsonObject
        // Signatures of nobody are looked for nowhere.
        const nobody = { '': own['hs1']!, 'a b': own['hs1']! }
        const known: KeyLookup = (server, keyId) =>
          server === 'hs1' ? lookup(server, keyId) : undefined
        const received = receive(of, { ...pdu, signatures: { ...own, ...nobody } }, known)
        expect(received.outcome === 'accept' && received.rejection !== undefined).toBe(
          of.restrictedJoins,
        )
      }
  })

  test('the same server twice is asked once', () => {
    const of = version('11')
    const content = { membership: 'join', join_authorised_via_users_server: '@bob:hs1' }
    const received = receive(of, seal(of, member(of, content)))
    if (received.outcome !== 'accept') throw new Error(received.outcome)
    expect(signersOf(received.event)).toEqual([{ server: 'hs1', otherwise: 'drop' }])
    expect(neededKeys(received.event)).toHaveLength(1)
    expect(checkEventSignatures(received.event, lookup, now)).toEqual({ outcome: 'valid' })
  })
})

describe('3. hash', () => {
  test('an event that its hash does not match goes on as its redacted copy, with the same ID', () => {
    for (const of of versions) {
      const pdu = seal(of, message(of))
      const whole = receive(of, pdu)
      const changed = receive(of, { ...pdu, content: { body: 'changed' }, extra: 1 })
      if (whole.outcome !== 'accept' || changed.outcome !== 'accept') throw new Error('dropped')
      expect(changed.redacted).toBe(true)
      expect(changed.event.eventId).toBe(whole.event.eventId)
      expect(changed.event.content).toEqual({})
      expect('extra' in changed.event.pdu).toBe(false)
      // The copy passes on its own.
      expect(receive(of, changed.event.pdu)).toMatchObject({ outcome: 'accept', redacted: true })
    }
  })

  test('the spelling of the hash does not matter', () => {
    for (const of of versions)
      for (let depth = 0; depth < 10; depth++) {
        const pdu = message(of, { depth })
        const { sha256 } = (seal(of, pdu) as { hashes: { sha256: string } }).hashes
        const url = sha256.replaceAll('+', '-').replaceAll('/', '_')
        const respelled = sign(of, { ...pdu, hashes: { sha256: `${url}=` }, signatures: {} }, 'hs1')
        expect(receive(of, respelled)).toMatchObject({ outcome: 'accept', redacted: false })
      }
  })
})

test('the verdict is the same whoever else has signed', () => {
  for (const of of versions) {
    const pdu = seal(of, message(of), 'hs1', 'hs2', 'hs3')
    expect(Object.keys(pdu['signatures'] as JsonObject)).toEqual(Object.keys(keys))
    expect(receive(of, pdu)).toMatchObject({ outcome: 'accept', redacted: false })
  }
})
