import { authorize } from '#core/auth/authorize.ts'
import { forbidden, MatrixError, notFound } from '#core/error.ts'
import { type AuthSubject, selectAuthEvents, type StateLookup } from '#core/event/auth-events.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { type JsonObject, without } from '#core/json.ts'
import { lookupAcl } from '#engine/room/inbox/acl.ts'
import { aside, settled } from '#engine/room/aside.ts'
import { lookupIn } from '#engine/room/decide/decide.ts'
import type { Lane } from '#engine/room/lane.ts'
import { isOurs } from '#engine/room/member/local-member.ts'
import { keysAsked, numbersFor } from '#engine/room/numbers.ts'
import type { Parts } from '#engine/room/parts.ts'
import { authoriserFor } from '#engine/room/member/restricted.ts'
import type { Known, Room } from '#engine/room/room.ts'
import { buildLocal, citedBy } from '#engine/room/local/send.ts'
import type { Task } from '#engine/room/task.ts'
import { RoomReloaded } from '#engine/room/work.ts'

/** What another server asks for on behalf of a user of its own. */
export type WantedMember = {
  origin: string
  userId: string
  membership: 'join' | 'leave' | 'knock'
  /** The room versions that the server knows; left out, it knows the room's. */
  versions?: readonly string[]
}

export type MemberTemplate = { version: string; event: string }

type Made = { room: Room; prevs: readonly Known[]; template: MemberTemplate }

/**
 * A join, leave or knock of another server's user, for that server to sign: what it would look like now. It
 * cites nothing that is not committed.
 *
 * Spec: server-server-api/#joining-rooms, server-server-api/#knocking-upon-a-room,
 * server-server-api/#leaving-rooms-rejecting-invites
 */
export const makeMember = (lane: Lane, wanted: WantedMember): Promise<MemberTemplate> =>
  lane.keep(async () => {
    for (;;) {
      const made = await aside(lane, (room) =>
        make(lane.parts, requireServed(lane.parts, room), wanted),
      )
      const { room, prevs, template } = made
      if (prevs.every(({ event }) => !room.uncommitted.has(event.eventId))) return template
      await settled(lane)
      // Reloaded: what it cites may never have been committed.
      if (!room.stale) return template
    }
  })

/** A room that we may speak for to other servers: one of our users is in it. */
export function requireServed(parts: Parts, room: Room | null): Room {
  if (room?.kind !== 'joined' || !isOurs(parts, room))
    throw notFound('This server is not in the room')
  return room
}

/** Refuses a server that the room's access list keeps out. */
export function* requireAllowed(parts: Parts, room: Room, origin: string): Task<void> {
  const acl = yield* lookupAcl(parts, room)
  if (!room.allows(origin, acl))
    throw forbidden(`The access list of the room does not allow ${origin}`)
}

function* make(parts: Parts, room: Room, wanted: WantedMember): Task<Made> {
  const { origin, userId, membership, versions } = wanted
  yield* requireAllowed(parts, room, origin)
  const { version } = room
  if (versions && !versions.includes(version.id))
    throw new MatrixError(
      400,
      'M_INCOMPATIBLE_ROOM_VERSION',
      `The room has version ${version.id}, which your server does not know`,
      { room_version: version.id },
    )
  const content: JsonObject = { membership }
  if (membership === 'join') {
    const { state } = yield* stateFor(parts, room, userId, content)
    const authoriser = yield* authoriserFor(parts, room, userId, state)
    if (authoriser !== undefined) content['join_authorised_via_users_server'] = authoriser
  }
  const { subject, state } = yield* stateFor(parts, room, userId, content)
  const prevs = citedBy(room)
  const { event } = buildLocal(
    parts,
    room,
    { sender: userId, type: 'm.room.member', stateKey: userId, content: '' },
    content,
    { prevs: prevs.map((prev) => prev.event), auths: selectAuthEvents(subject, state) },
  )
  // Our signature for the authoriser comes with send_join.
  const verdict = authorize(event, state, () => true)
  if (!verdict.allowed) throw forbidden(verdict.reason)
  return { room, prevs, template: { version: version.id, event: templateOf(event) } }
}

/** What the room's state says of a user, as it is when nothing more has to be read. */
function* stateFor(
  parts: Parts,
  room: Room,
  userId: string,
  content: JsonObject,
): Task<{ subject: AuthSubject; state: StateLookup }> {
  const subject: AuthSubject = {
    version: room.version,
    type: 'm.room.member',
    stateKey: userId,
    sender: userId,
    content,
  }
  const numbers = yield* numbersFor(parts.interner, [subject])
  for (;;) {
    const before = room.state
    const state = yield* lookupIn(parts, room, before, keysAsked(subject), numbers)
    if (room.stale) throw new RoomReloaded()
    if (room.state === before) return { subject, state }
  }
}

/** v1–v2: the joiner's server makes up the event ID. */
const templateOf = ({ pdu }: RoomEvent): string =>
  JSON.stringify(without(pdu, 'event_id', 'hashes', 'signatures'))
