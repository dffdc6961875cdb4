import { parseJson } from '#core/canonical-json.ts'
import { badJson, invalidParam, type MatrixError, tooLarge } from '#core/error.ts'
import { assemble, type PlainEvent } from '#core/event/assemble.ts'
import { inspectPdu, maxPduBytes } from '#core/event/check.ts'
import { canonicalEvent, contentHash, redactedText } from '#core/event/hash.ts'
import type { Pdu, RoomEvent } from '#core/event/pdu.ts'
import { type JsonObject, without } from '#core/json.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { addSignature, type SigningKey } from '#core/signing.ts'

/**
 * Events of this server: from what a client asked for to a signed PDU.
 *
 * Spec: server-server-api/#adding-hashes-and-signatures-to-outgoing-events
 */
export type ProtoEvent = Readonly<{
  /** Undefined only for the create event of v12+. */
  roomId: string | undefined
  type: string
  sender: string
  stateKey?: string | undefined
  content: JsonObject
  prevEvents: readonly string[]
  authEvents: readonly string[]
  depth: number
  originServerTs: number
  /** The target of an `m.room.redaction`; it goes where the version keeps it. */
  redacts?: string | undefined
  /**
   * v1–v2: the ID that we give it, and the reference hashes of its prev and auth events; null for one
   * whose hash whoever told us of it does not know.
   */
  named?: Readonly<{ eventId: string; hashes: ReadonlyMap<string, string | null> }> | undefined
}>

/** Who signs. */
export type Signing = Readonly<{ serverName: string; key: SigningKey }>

export type Built =
  /** `text` is the canonical JSON of the PDU. */
  Readonly<{ outcome: 'built'; event: RoomEvent; text: string }> | Unbuilt

/** `malformed`: a key other than the content may not be as it is, such as a type that is too long. */
export type Unbuilt = Readonly<{ outcome: 'too-large' | 'bad-json' | 'malformed'; reason: string }>

/**
 * Not spec: what we leave free of the 65,536 bytes. Synapse counts the `unsigned` that it adds to
 * every event on receipt.
 */
const mostBytes = maxPduBytes - Buffer.byteLength(',"unsigned":{}')

/** Builds, hashes and signs an event. What a client sent may be refused here, nothing else. */
export function buildEvent(version: RoomVersion, proto: ProtoEvent, signing: Signing): Built {
  if (version.strictCanonicalJson && version.eventFormat === 'hashed') {
    const assembled = assemble(version, plainEvent(version, proto), signing)
    if (assembled && Buffer.byteLength(assembled.text) <= mostBytes)
      return { outcome: 'built', ...assembled }
  }
  return sealEvent(version, protoPdu(version, proto), signing)
}

function plainEvent(version: RoomVersion, proto: ProtoEvent): PlainEvent {
  const { stateKey, redacts, content } = proto
  const isRedaction = proto.type === 'm.room.redaction' && redacts !== undefined
  return {
    ...proto,
    stateKey,
    content: isRedaction && !version.redactsAtTopLevel ? { ...content, redacts } : content,
    // A room at the limit stays there.
    depth: Math.min(proto.depth, Number.MAX_SAFE_INTEGER),
    redacts: isRedaction && version.redactsAtTopLevel ? redacts : undefined,
  }
}

/**
 * Hashes and signs a PDU that has neither, or an old hash: one of ours, or the template that another
 * server made for a join of one of our users.
 */
export function sealEvent(version: RoomVersion, template: JsonObject, signing: Signing): Built {
  // v3+: an ID that somebody noted in the event would enter its hash.
  const pdu =
    version.eventFormat === 'named'
      ? without(template, 'unsigned')
      : without(template, 'event_id', 'unsigned')
  const sha256 = contentHash(version, pdu)
  if (sha256 === undefined)
    return {
      outcome: 'bad-json',
      reason: 'The event is not canonical JSON: it holds a float or a big number',
    }
  const signed = signEvent(version, { ...pdu, hashes: { sha256 }, signatures: {} }, signing)
  const text = canonicalEvent(version, signed)!
  const bytes = Buffer.byteLength(text)
  if (bytes > mostBytes)
    return { outcome: 'too-large', reason: `The event has ${bytes} bytes, more than 65536 allow` }
  // v1–v5: floats must be as they will be read again.
  const kept = version.strictCanonicalJson ? signed : parseJson(text)
  const inspected = inspectPdu(version, kept)
  return typeof inspected === 'string'
    ? { outcome: 'malformed', reason: inspected }
    : { outcome: 'built', event: inspected.event, text }
}

/** What a client is told of an event of its own that cannot be. Spec: rooms/v6/#canonical-json */
export function refusalOf({ outcome, reason }: Unbuilt): MatrixError {
  switch (outcome) {
    case 'too-large':
      return tooLarge(reason)
    case 'bad-json':
      return badJson(reason)
    case 'malformed':
      return invalidParam(reason)
  }
}

/** A copy of a hashed PDU with our signature; those that it has are kept. */
export function signEvent(
  version: RoomVersion,
  pdu: JsonObject,
  { serverName, key }: Signing,
): JsonObject {
  const text = redactedText(version, pdu)
  if (text === undefined) throw new TypeError('The event has no canonical JSON form')
  return addSignature(pdu, serverName, key.keyId, key.sign(text))
}

/** In canonical order, which makes its canonical JSON cheap. */
function protoPdu(version: RoomVersion, proto: ProtoEvent): JsonObject {
  const { roomId, stateKey, redacts, content, depth } = plainEvent(version, proto)
  return {
    auth_events: references(proto, proto.authEvents),
    content,
    depth,
    ...(proto.named && { event_id: proto.named.eventId }),
    hashes: {},
    origin_server_ts: proto.originServerTs,
    prev_events: references(proto, proto.prevEvents),
    ...(redacts !== undefined && { redacts }),
    ...(roomId !== undefined && { room_id: roomId }),
    sender: proto.sender,
    signatures: {},
    ...(stateKey !== undefined && { state_key: stateKey }),
    type: proto.type,
  }
}

function references({ named }: ProtoEvent, ids: readonly string[]): Pdu['content'][string] {
  if (!named) return [...ids]
  return ids.map((id) => {
    const sha256 = named.hashes.get(id)
    if (sha256 === undefined) throw new TypeError(`The reference hash of ${id} was not given`)
    return [id, sha256 === null ? {} : { sha256 }]
  })
}
