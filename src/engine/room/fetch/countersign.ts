import { canonicalEvent } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { readPdu } from '#core/event/receive.ts'
import { toRoomEvent } from '#core/event/check.ts'
import { addSignature, signaturesOf } from '#core/signing.ts'
import { verifySignature } from '#core/ed25519.ts'
import { type JsonObject, without } from '#core/json.ts'
import { signsEvents } from '#core/server-keys.ts'
import { malformedAnswer } from '#engine/federation/answer.ts'
import type { Fetching } from '#engine/room/fetch/fetching.ts'
import { KeyWishes } from '#engine/room/fetch/key-wishes.ts'

export type Countersigned = Readonly<{
  /** Who answered. */
  server: string
  /** Our event, as it was sent. */
  event: RoomEvent
  /** What came back. */
  returned: JsonObject
  /** Whose signature must be on it. */
  signer: string
}>

/**
 * Our event with one more signature, of a server that was asked for it: nothing else of what came
 * back is taken, and anything else that is different is refused.
 */
export async function withSignatureOf(
  fetching: Fetching,
  { server, event, returned, signer }: Countersigned,
): Promise<RoomEvent> {
  const { version, roomId, eventId, pdu } = event
  const read = readPdu(version, returned, { roomId, anyListLength: true })
  if (typeof read === 'string') throw malformedAnswer(server, `has an event in it: ${read}`)
  const unsigned = (json: JsonObject) =>
    canonicalEvent(version, without(json, 'signatures', 'unsigned'))
  if (read.redacted || unsigned(read.event.pdu) !== unsigned(pdu))
    throw malformedAnswer(server, 'has another event in it than was sent')
  const { originServerTs } = event
  const given = signaturesOf(read.event.pdu, signer)
  const keyIds = given.map(([keyId]) => keyId)
  const minimumValidUntilTs = version.enforceKeyValidity ? originServerTs : 0
  const wishes = new KeyWishes(fetching)
  wishes.add({ server: signer, keyIds, minimumValidUntilTs })
  const lookup = await wishes.fetch()
  for (const [keyId, signature] of given) {
    const key = lookup(signer, keyId)
    if (!key || !signsEvents(key, version, originServerTs, fetching.now())) continue
    if (!verifySignature(key.publicKey, read.signed, signature)) continue
    const signed = addSignature(pdu, signer, keyId, signature) as Pdu
    return toRoomEvent(version, signed, eventId, roomId)
  }
  throw malformedAnswer(server, `has an event in it that ${signer} has not signed`)
}
