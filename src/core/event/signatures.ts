import { verifySignature } from '#core/ed25519.ts'
import { redactedText } from '#core/event/hash.ts'
import { policyKeyId } from '#core/event/policy.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import { type KeyLookup, signsEvents } from '#core/server-keys.ts'
import { signaturesOf } from '#core/signing.ts'

/**
 * Step 2 of the checks on a PDU: the signatures.
 *
 * Spec: server-server-api/#validating-hashes-and-signatures-on-received-events
 */

/** A server that must have signed an event, and what follows if it has not. */
export type Signer = Readonly<{ server: string; otherwise: 'drop' | 'reject' }>

/** Signatures of one server that an event carries: the keys to know before it can be checked. */
export type NeededKeys = Readonly<{
  server: string
  keyIds: readonly string[]
  /** v5+: the keys must be valid at this time. */
  minimumValidUntilTs: number
}>

/** The servers that must have signed an event. */
export function signersOf(event: RoomEvent): Signer[] {
  const { version, content } = event
  const signers: Signer[] = []
  // All versions: the server of the sender, unless the event is a third-party invite.
  if (!isThirdPartyInvite(event))
    signers.push({ server: domainOf(event.sender)!, otherwise: 'drop' })
  // v1–v2: the domain of the event ID too.
  const idDomain = version.eventIdDomainSigns ? domainOf(event.eventId) : undefined
  if (idDomain !== undefined && !signers.some(({ server }) => server === idDomain))
    signers.push({ server: idDomain, otherwise: 'drop' })
  // v8+: the server of the user who vouches for a restricted join. A rule of authorisation (5.2 in
  // v12), so the event is rejected, not dropped.
  if (
    version.restrictedJoins &&
    event.type === 'm.room.member' &&
    Object.hasOwn(content, 'join_authorised_via_users_server')
  ) {
    const user = content['join_authorised_via_users_server']
    const server = typeof user === 'string' && isUserId(user) ? domainOf(user)! : noServer
    if (!signers.some((signer) => signer.server === server))
      signers.push({ server, otherwise: 'reject' })
  }
  return signers
}

/** Stands for the server of a user that is none: nothing can be signed by it. */
const noServer = ''

/** Whether an event is an invite of somebody by an address: then its sender need not have signed it. */
export const isThirdPartyInvite = ({ type, content }: RoomEvent): boolean =>
  type === 'm.room.member' &&
  content['membership'] === 'invite' &&
  Object.hasOwn(content, 'third_party_invite')

/** The keys that checking an event needs, for fetching those of many events at once. */
export const neededKeys = (event: RoomEvent): NeededKeys[] =>
  signersOf(event)
    .filter(({ server }) => server !== noServer)
    .map(({ server }) => keysOf(event, server))

const keysOf = (event: RoomEvent, server: string): NeededKeys => ({
  server,
  keyIds: signaturesOf(event.pdu, server)
    .map(([keyId]) => keyId)
    // Another rule checks that signature.
    .filter((keyId) => keyId !== policyKeyId),
  minimumValidUntilTs: event.version.enforceKeyValidity ? event.originServerTs : 0,
})

/** What the signatures say. `missing` names keys that are unknown, or not known to be valid long enough. */
export type SignatureCheck =
  | Readonly<{ outcome: 'valid' }>
  | Readonly<{ outcome: 'drop'; reason: string }>
  | Readonly<{ outcome: 'reject'; reason: string }>
  | Readonly<{ outcome: 'missing'; keys: readonly NeededKeys[] }>

/** Checks all signatures that an event needs. */
export function checkEventSignatures(
  event: RoomEvent,
  keys: KeyLookup,
  now: number,
  signed: string | undefined = redactedText(event.version, event.pdu),
): SignatureCheck {
  if (signed === undefined) return { outcome: 'drop', reason: 'The event is not canonical JSON' }
  const missing: NeededKeys[] = []
  let rejection: string | undefined
  for (const { server, otherwise } of signersOf(event)) {
    const found = checkServer(event, server, keys, now, signed)
    if (found === 'valid') continue
    if (found === 'missing') {
      missing.push(keysOf(event, server))
      continue
    }
    const reason = `The event is not validly signed by ${server || 'the authorising server'}`
    if (otherwise === 'drop') return { outcome: 'drop', reason }
    rejection = reason
  }
  if (missing.length > 0) return { outcome: 'missing', keys: missing }
  return rejection === undefined ? { outcome: 'valid' } : { outcome: 'reject', reason: rejection }
}

/** One server: of its signatures by usable keys all must hold, and there must be one. */
function checkServer(
  event: RoomEvent,
  server: string,
  keys: KeyLookup,
  now: number,
  signed: string,
): 'valid' | 'invalid' | 'missing' {
  if (server === noServer) return 'invalid'
  let verified = false
  let unknown = false
  for (const [keyId, signature] of signaturesOf(event.pdu, server)) {
    if (keyId === policyKeyId) continue
    const key = keys(server, keyId)
    if (!key || !signsEvents(key, event.version, event.originServerTs, now)) {
      // That an old key has expired is final.
      if (!key?.old) unknown = true
      continue
    }
    if (!verifySignature(key.publicKey, signed, signature)) return 'invalid'
    verified = true
  }
  if (verified) return 'valid'
  return unknown ? 'missing' : 'invalid'
}
