import { parseJson } from '#core/canonical-json.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import { badJson, forbidden, invalidParam, MatrixError } from '#core/error.ts'
import { inspectPdu } from '#core/event/check.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import type { Answer } from '#engine/room/asked.ts'
import { newRoomOutside } from '#engine/room/create.ts'
import type { Incoming } from '#engine/room/incoming.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/local-member.ts'
import { requireAllowed } from '#engine/room/make-member.ts'
import { applyOutside } from '#engine/room/outside.ts'
import { claim } from '#engine/room/receive.ts'
import { forget, type Room } from '#engine/room/room.ts'
import { Taken } from '#engine/room/take-member.ts'
import type { Task } from '#engine/room/task.ts'
import { type Committed, type Outcome, RoomReloaded } from '#engine/room/work.ts'
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
  lane.admit<Landed>((answer) => new TakeInvite(answer, invite))

class TakeInvite extends Taken<Landed> {
  readonly bytes: number
  readonly #invite: SignedInvite

  constructor(answer: Answer<Landed>, invite: SignedInvite) {
    super(answer, false)
    this.#invite = invite
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
    }
    yield* requireAllowed(parts, room, incoming.origin)
    const taken = yield* this.take(lane, room, incoming, false)
    if ('outcome' in taken) return taken.outcome
    // It goes to all servers in the room, so it comes again; until then we look for what it lacks.
    lane.inbound.parkEvent(incoming, taken.missing)
    this.answer.resolve({ eventId: event.eventId, shard: lane.shard, position: 0 })
    return null
  }

  /** Without the room's state nobody can judge it. */
  *#outside(lane: Lane, there: Room | null, event: RoomEvent): Task<Outcome | null> {
    const { parts, roomId } = lane
    const { version } = event
    const known = there && (yield* parts.events.byIds(there, [event.eventId])).get(event.eventId)
    if (known) return this.again(there, known)
    if (!(yield* claim(lane, event))) throw forbidden('The ID of the event is that of another')
    const room = there ?? newRoomOutside(parts, lane, version)
    const made = yield* applyOutside(parts, room, event, {
      text: canonicalEvent(version, event.pdu)!,
      internal: `{"invite_room_state":[${this.#invite.state.join(',')}]}`,
      claimed: version.eventFormat === 'named',
    })
    const { part } = made.outcome
    if (!there) {
      // Made by somebody else meanwhile.
      if (lane.room) {
        forget(parts, room)
        throw new RoomReloaded()
      }
      lane.room = room
      part.created = { roomId, version: version.id, kind: room.kind, partial: false }
    } else if (room.version.id !== version.id) {
      room.version = version
      part.room = { version: version.id }
    }
    this.applied(room, made.known)
    return made.outcome
  }

  answerFor(committed: Committed): Landed {
    return this.landed(committed)
  }
}

/**
 * The version by which an invite is read. That of a room that we are in, or were in, is certain; from
 * outside we know what another server said, which may have been wrong, and may say it better now. But
 * IDs of v1–v2 are no IDs of later versions, so from the one to the other it does not change.
 */
function versionFor(room: Room | null, id: string): RoomVersion {
  const version = roomVersions.get(id)
  if (!version)
    throw new MatrixError(
      400,
      'M_INCOMPATIBLE_ROOM_VERSION',
      'This server does not know the version of the room',
      { room_version: id },
    )
  if (!room || room.version.id === id) return version
  const { eventFormat, eventIdBase64 } = room.version
  if (version.eventFormat !== eventFormat || version.eventIdBase64 !== eventIdBase64)
    throw invalidParam('The room has another version')
  // v1–v2: the first version of the call does not say which of the two.
  if (eventFormat === 'named') return room.version
  if (room.kind === 'joined') throw invalidParam('The room has another version')
  return version
}

function readInvite(version: RoomVersion, pdu: string, roomId: string): RoomEvent {
  const inspected = inspectPdu(version, parseJson(pdu), { roomId })
  if (typeof inspected === 'string') throw badJson(inspected)
  const { event } = inspected
  if (event.type !== 'm.room.member' || membershipOf(event.content) !== 'invite')
    throw invalidParam('The event is no invite')
  return event
}
