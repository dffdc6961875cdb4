import type { PolicyServer } from '#core/content/m.room.policy.ts'
import { verifySignature } from '#core/ed25519.ts'
import { toRoomEvent } from '#core/event/check.ts'
import { redactedText } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { addSignature, signaturesOf } from '#core/signing.ts'

/**
 * Signatures of policy servers.
 *
 * Spec: server-server-api/#validating-policy-server-signatures
 */

/** The ID of the key of every policy server. It is in no key document. */
export const policyKeyId = 'ed25519:policy_server'

/** Whether events of a kind need the signature of a room's policy server: all but what names it. */
export const needsPolicySignature = (event: Pick<RoomEvent, 'type' | 'stateKey'>): boolean =>
  event.type !== 'm.room.policy' || event.stateKey !== ''

/** Whether an event has the valid signature of a policy server. */
export function hasPolicySignature(event: RoomEvent, { via, publicKey }: PolicyServer): boolean {
  const signature = signaturesOf(event.pdu, via).find(([keyId]) => keyId === policyKeyId)?.[1]
  if (signature === undefined) return false
  const signed = redactedText(event.version, event.pdu)
  return signed !== undefined && verifySignature(publicKey, signed, signature)
}

/** The event with this signature of a policy server; those that it has of the same server are kept. */
export function withPolicySignature(event: RoomEvent, via: string, signature: string): RoomEvent {
  const { version, eventId, roomId, pdu } = event
  const signed = addSignature(pdu, via, policyKeyId, signature) as Pdu
  return toRoomEvent(version, signed, eventId, roomId)
}
