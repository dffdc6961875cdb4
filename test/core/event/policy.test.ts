import { expect, test } from 'bun:test'
import { inspectPdu } from '#core/event/check.ts'
import { redactedText } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import {
  hasPolicySignature,
  needsPolicySignature,
  withPolicySignature,
} from '#core/event/policy.ts'
import { checkEventSignatures } from '#core/event/signatures.ts'
import { signaturesOf } from '#core/signing.ts'
import { MadeUpServer } from '#test/builders.ts'
import { lookup, message, now, roomIdOf, seal, versions } from './fixtures.ts'

const { key } = new MadeUpServer('the key of a policy server')
const policy = (via: string) => ({ via, publicKey: key.publicKey })

test('a policy server that is the server of the sender signs beside it, and takes nothing away', () => {
  for (const of of versions) {
    const event = inspectPdu(of, seal(of, message(of)), { roomId: roomIdOf(of) })
    if (typeof event === 'string') throw new Error(event)
    const plain: RoomEvent = event.event
    expect(hasPolicySignature(plain, policy('hs1'))).toBe(false)
    const text = redactedText(of, plain.pdu)!
    const both = withPolicySignature(plain, 'hs1', key.sign(text))
    expect(hasPolicySignature(both, policy('hs1'))).toBe(true)
    expect(signaturesOf(both.pdu, 'hs1').map(([keyId]) => keyId)).toEqual([
      ...signaturesOf(plain.pdu, 'hs1').map(([keyId]) => keyId),
      'ed25519:policy_server',
    ])
    expect(checkEventSignatures(both, lookup, now)).toEqual({ outcome: 'valid' })
    // It is no signature of another server, nor one by another key.
    expect(hasPolicySignature(both, policy('hs2'))).toBe(false)
    expect(
      hasPolicySignature(both, { via: 'hs1', publicKey: new MadeUpServer('x').key.publicKey }),
    ).toBe(false)
  }
})

test('all events are for a policy server to sign but the one that names it', () => {
  const of = (type: string, stateKey?: string) =>
    needsPolicySignature({ type, stateKey } as Pick<RoomEvent, 'type' | 'stateKey'>)
  expect(of('m.room.message')).toBe(true)
  expect(of('m.room.member', '@a:b')).toBe(true)
  expect(of('m.room.policy', '')).toBe(false)
  expect(of('m.room.policy', 'x')).toBe(true)
  expect(of('m.room.policy')).toBe(true)
})
