import { authorize } from '#core/auth/authorize.ts'
import { type PolicyServer, policyServerOf } from '#core/content/m.room.policy.ts'
import { MatrixError } from '#core/error.ts'
import { hasPolicySignature, needsPolicySignature } from '#core/event/policy.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isServerName } from '#core/ids.ts'
import { packEventId } from '#store/room/event-id.ts'
import type { Interned } from '#store/room/intern.ts'
import * as redacted from '#store/room/redacted.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import type { Incoming } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { passHolds } from '#engine/room/hold.ts'
import { keysAsked } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { SignedByPolicy } from '#engine/room/policy/policy-servers.ts'
import type { Room } from '#engine/room/room.ts'
import { type Task, wait } from '#engine/room/task.ts'

/** What an `m.room.policy` event of a room says; nothing if it is not valid, or was redacted. */
export type SeenPolicy = Readonly<{
  eventNid: number
  eventId: string
  server: PolicyServer | undefined
  /** The number of that server. */
  serverNid: number | undefined
}>

/**
 * The policy server of a room as it is now: the one that its state names, if a user of it is joined.
 *
 * Spec: server-server-api/#determining-if-a-policy-server-is-enabled-in-a-room
 */
export function* policyOf(
  parts: Parts,
  room: Room,
  numbers: Interned,
): Task<PolicyServer | undefined> {
  const nid = room.state.get(numbers.stateKey('m.room.policy', ''))
  if (nid === undefined) return undefined
  if (room.policy?.eventNid !== nid) room.policy = yield* readPolicy(parts, room, nid)
  const { eventId, server, serverNid } = room.policy
  if (serverNid === undefined || room.redactedPolicies.has(eventId)) return undefined
  return room.servers.has(serverNid) ? server : undefined
}

function* readPolicy(parts: Parts, room: Room, nid: number): Task<SeenPolicy> {
  const { event } = (yield* parts.events.byNids(room, [nid])).get(nid)!
  const { eventId } = event
  const server = policyServerOf(event.content)
  const none: SeenPolicy = { eventNid: nid, eventId, server: undefined, serverNid: undefined }
  if (!server || !isServerName(server.via)) return none
  const rows = redacted.among(parts.sql, room.shard, room.nid, [packEventId(eventId)])
  if ((yield* wait(rows.then((list) => list))).length > 0) return none
  const numbers = yield* wait(parts.interner.intern({ servers: [server.via] }))
  return { eventNid: nid, eventId, server, serverNid: numbers.server(server.via) }
}

/** Notes that a redaction of this event counts. */
export function policyRedacted(room: Room, event: { eventId: string; type?: string }): void {
  const { eventId, type } = event
  if (type === 'm.room.policy' || room.policy?.eventId === eventId)
    room.redactedPolicies.add(eventId)
}

/** What check 7 says of an event: it passes, it is soft-failed, or somebody is to be asked first. */
export type PolicyVerdict =
  | Readonly<{ outcome: 'pass' }>
  | Readonly<{ outcome: 'soft-fail'; reason: string }>
  | Readonly<{ outcome: 'ask'; server: PolicyServer }>

const pass: PolicyVerdict = { outcome: 'pass' }

/**
 * Check 7 of an event of another server, which passed 4 and 5: the policy server has signed it,
 * otherwise it is soft-failed.
 *
 * Spec: server-server-api/#validating-policy-server-signatures
 */
export function* judgeByPolicy(
  parts: Parts,
  room: Room,
  incoming: Incoming,
  numbers: Interned,
): Task<PolicyVerdict> {
  const { event, before, unsigned } = incoming
  const server = yield* policyOf(parts, room, numbers)
  if (!server || !needsPolicySignature(event) || hasPolicySignature(event, server)) return pass
  if (unsigned && isSame(unsigned.server, server))
    return { outcome: 'soft-fail', reason: unsigned.reason }
  // What check 6 soft-fails is not worth the question. Behind a gap that check asks more than this one.
  if (!before) {
    const state = yield* lookupIn(parts, room, room.state, keysAsked(event), numbers)
    if (!authorize(event, state, () => true).allowed)
      return { outcome: 'soft-fail', reason: `${server.via} was not asked to sign the event` }
  }
  return { outcome: 'ask', server }
}

const isSame = (a: PolicyServer, b: PolicyServer) => a.via === b.via && a.publicKey === b.publicKey

/**
 * Thrown by work that somebody waits for, if its event needs the signature of a policy server: the lane
 * does not wait for that.
 */
export class Unsigned extends MatrixError {
  readonly event: RoomEvent
  readonly server: PolicyServer

  constructor(event: RoomEvent, server: PolicyServer) {
    super(502, 'M_UNKNOWN', `The policy server ${server.via} has not signed the event`)
    this.event = event
    this.server = server
  }
}

/** Throws if an event of ours must be signed by a policy server first. */
export function requirePolicySignature(event: RoomEvent, server: PolicyServer | undefined): void {
  if (server && needsPolicySignature(event) && !hasPolicySignature(event, server))
    throw new Unsigned(event, server)
}

/** The policy server of a room may change while the one before it is asked. */
const maxAsked = 3

/** Does something, and again with the event that a policy server has signed if it asks for that. */
export async function withPolicySignatures<T>(
  lane: Lane,
  perform: (signed: SignedByPolicy | undefined) => Promise<T>,
): Promise<T> {
  let signed: SignedByPolicy | undefined
  for (let asked = 0; ; asked++) {
    try {
      return await perform(signed)
    } catch (error) {
      if (!(error instanceof Unsigned) || asked === maxAsked) throw error
      signed = await lane.parts.policies.sign(error.event, error.server)
      await passHolds(lane, signed.event.stateKey !== undefined)
    }
  }
}
