import { parseJson } from '#core/canonical-json.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { badJson, forbidden, invalidParam } from '#core/error.ts'
import { inspectPdu } from '#core/event/check.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import type { RoomVersion } from '#core/room-version.ts'
import type { Answer } from '#engine/room/asked.ts'
import type { Incoming } from '#engine/room/inbox/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { requireAllowed } from '#engine/room/member/make-member.ts'
import { enterOutside, versionFor } from '#engine/room/member/outside-room.ts'
import { withPolicySignatures } from '#engine/room/policy/policy.ts'
import type { SignedByPolicy } from '#engine/room/policy/policy-servers.ts'
import { claim } from '#engine/room/decide/receive.ts'
import type { Room } from '#engine/room/room.ts'
import { Taken } from '#engine/room/member/take-member.ts'
import type { Task } from '#engine/room/task.ts'
import type { Committed, Outcome } from '#engine/room/work.ts'
import type { Landed } from '#engine/worker/protocol.ts'

/** An invite of another server for a user of ours: checked before, and signed by us. */
export type SignedInvite = {
  version: string
  pdu: string
  /** The state that came with it, as PDUs or stripped events. */
  state: readonly string[]
}

/**
 * Takes an invite for a user of ours. In a room that we are in it is an event like any other; else it
 * is all that we know of the room.
 *
 * Spec: server-server-api/#inviting-to-a-room
 */
export const receiveInvite = (lane: Lane, invite: SignedInvite): Promise<Landed> =>
  withPolicySignatures(lane, (signed) =>
    lane.admit<Landed>((answer) => new TakeInvite(answer, invite, signed)),
  )

class TakeInvite extends Taken<Landed> {
  readonly bytes: number
  readonly #invite: SignedInvite
  readonly #signed: SignedByPolicy | undefined

  constructor(answer: Answer<Landed>, invite: SignedInvite, signed: SignedByPolicy | undefined) {
    super(answer, false)
    this.#invite = invite
    this.#signed = signed
    this.bytes = invite.state.reduce((sum, each) => sum + each.length, invite.pdu.length)
  }

  *decide(lane: Lane): Task<Outcome | null> {
    const { parts } = lane
    const room = yield* lane.load()
    const version = versionFor(room, this.#invite.version)
    const event = readInvite(version, this.#invite.pdu, lane.roomId)
    if (room?.kind !== 'joined' || !isOurs(parts, room))
      return yield* this.#outside(lane, room, event)

    const incoming: Incoming = {
      eventId: event.eventId,
      event,
      text: canonicalEvent(version, event.pdu)!,
      origin: domainOf(event.sender)!,
      rejection: undefined,
      inboxIds: [],
      ...this.#signed,
    }
    yield* requireAllowed(parts, room, incoming.origin)
    const taken = yield* this.take(lane, room, incoming, { relayed: false })
    if ('outcome' in taken) return taken.outcome
    // It goes to all servers in the room, so it comes again; until then we look for what it lacks.
    lane.inbound.parkEvent(incoming, taken.missing)
    this.answer.resolve({ eventId: event.eventId, shard: lane.shard, position: 0 })
    return null
  }

  /** Without the room's state nobody can judge it. */
  *#outside(lane: Lane, there: Room | null, event: RoomEvent): Task<Outcome | null> {
    const { parts } = lane
    const found = there && (yield* parts.events.byIds(there, [event.eventId])).get(event.eventId)
    if (found) return this.again(there, found)
    if (!(yield* claim(lane, event))) throw forbidden('The ID of the event is that of another')
    const internal = `{"invite_room_state":[${this.#invite.state.join(',')}]}`
    const { room, known, outcome } = yield* enterOutside(lane, there, event, internal)
    this.applied(room, known)
    return outcome
  }

  answerFor(committed: Committed): Landed {
    return this.landed(committed)
  }
}

function readInvite(version: RoomVersion, pdu: string, roomId: string): RoomEvent {
  const inspected = inspectPdu(version, parseJson(pdu), { roomId })
  if (typeof inspected === 'string') throw badJson(inspected)
  const { event } = inspected
  if (event.type !== 'm.room.member' || membershipOf(event.content) !== 'invite')
    throw invalidParam('The event is no invite')
  return event
}
