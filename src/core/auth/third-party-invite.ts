import { allow, reject, type Verdict } from '#core/verdict.ts'
import { isObject, type Json, type JsonObject } from '#core/json.ts'
import { signaturesOf, signedTextOf } from '#core/signing.ts'
import { verifySignature } from '#core/ed25519.ts'
import { thirdPartyToken } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { RoomState } from './room.ts'

/**
 * Rule 5.4.1 (v12; 5.3.1 in v1–v5, 4.3.1 in v6–v7, 4.4.1 in v8–v11): an invite that redeems an
 * `m.room.third_party_invite`.
 *
 * Spec: rooms/v12/#authorization-rules
 */
export function authorizeThirdPartyInvite(
  event: RoomEvent,
  target: string,
  room: RoomState,
): Verdict {
  // 5.4.1.1: The target is banned: reject.
  if (room.membership(target) === 'ban') return reject('The invitee is banned')
  // 5.4.1.2: third_party_invite has no signed: reject.
  const invite = event.content['third_party_invite']
  const signed = isObject(invite) ? invite['signed'] : undefined
  if (!isObject(signed)) return reject('The third-party invite is not signed')
  // 5.4.1.3: signed has no mxid or token: reject.
  const token = thirdPartyToken(event)
  if (token === undefined || typeof signed['mxid'] !== 'string')
    return reject('The third-party invite lacks its mxid or token')
  // 5.4.1.4: mxid is not the state_key: reject.
  if (signed['mxid'] !== target) return reject('The third-party invite is for another user')
  // 5.4.1.5: The room has no m.room.third_party_invite for the token: reject.
  const offer = room.thirdPartyInvite(token)
  if (offer === undefined) return reject('The room has no such third-party invite')
  // 5.4.1.6: The sender did not send that: reject.
  if (offer.sender !== event.sender) return reject('Another user sent the third-party invite')
  // 5.4.1.7–5.4.1.8: A signature matches one of its public keys: allow. Otherwise reject.
  return publicKeys(offer.content).some((key) => isSignedWith(signed, key))
    ? allow
    : reject('No key of the third-party invite has signed it')
}

function publicKeys(content: JsonObject): string[] {
  const list = content['public_keys']
  const entries: Json[] = Array.isArray(list) ? list : []
  const keys = entries.map((entry) => (isObject(entry) ? entry['public_key'] : undefined))
  return [content['public_key'], ...keys].filter((key) => typeof key === 'string')
}

function isSignedWith(signed: JsonObject, publicKey: string): boolean {
  const text = signedTextOf(signed)
  const servers = isObject(signed['signatures']) ? Object.keys(signed['signatures']) : []
  if (text === undefined) return false
  return servers
    .flatMap((server) => signaturesOf(signed, server))
    .some(([, signature]) => verifySignature(publicKey, text, signature))
}
