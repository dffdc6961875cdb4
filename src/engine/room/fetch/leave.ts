import { MatrixError } from '#core/error.ts'
import type { Signing } from '#core/event/build.ts'
import { canonicalEvent, referenceHash } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { isObject, type JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { malformedAnswer } from '#engine/federation/answer.ts'
import { makeLeave, sendLeave } from '#engine/federation/remote-membership.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import { Failures } from '#engine/room/fetch/failures.ts'
import type { Fetching } from '#engine/room/fetch/fetching.ts'
import { readTemplate, signMember } from '#engine/room/fetch/template.ts'

/**
 * Leaves a room that we are not in: an invite is rejected, or a knock taken back.
 *
 * Spec: server-server-api/#leaving-rooms-rejecting-invites
 */
export type RemoteLeave = Fetching &
  Readonly<{
    roomId: string
    userId: string
    /** Member content beside `membership`, such as a reason. */
    content: JsonObject
    /** Servers to ask, best first: the inviter's. */
    via: readonly string[]
    /** The room's version, as the invite told it; a template of another one is not signed. */
    version: string | undefined
    signing: Signing
  }>

/** An event that was signed and sent, and its JSON text. */
export type Signed = Readonly<{ event: RoomEvent; json: string }>

/** Asks one server after the other; a `MatrixError` says why none let the user go. */
export async function remoteLeave(
  leave: RemoteLeave,
): Promise<Signed & Readonly<{ server: string }>> {
  const { roomId, userId, content, signing, now } = leave
  const { federation } = new Deadline(leave)
  const failures = new Failures('let you leave the room')
  for (const server of leave.via) {
    if (failures.final) break
    try {
      const template = await makeLeave(federation, server, roomId, userId)
      const version = versionOf(server, leave.version, template.version)
      const place = readTemplate(server, version, template.event)
      const member = { roomId, userId, membership: 'leave', content } as const
      const { event, text } = signMember(version, place, member, { signing, now: now() })
      await sendLeave(federation, server, roomId, event.eventId, text)
      return { event, json: text, server }
    } catch (error) {
      failures.add(error)
    }
  }
  throw failures.toMatrixError()
}

function versionOf(
  server: string,
  expected: string | undefined,
  named: string | undefined,
): RoomVersion {
  if (expected !== undefined && named !== undefined && named !== expected)
    throw malformedAnswer(server, 'is a template of another room version than the room has')
  // Not said: version 1 or 2.
  const id = expected ?? named ?? '1'
  const version = roomVersions.get(id)
  if (version) return version
  throw new MatrixError(
    400,
    'M_INCOMPATIBLE_ROOM_VERSION',
    `This server does not support room version ${id}`,
    { room_version: id },
  )
}

/**
 * The leave of a user whom no server lets go: it follows the invite, or knock, and nobody else ever
 * sees it.
 */
export function localLeave(
  before: RoomEvent,
  content: JsonObject,
  { signing, now }: Readonly<{ signing: Signing; now: () => number }>,
): Signed {
  const { version, roomId, eventId, authEvents, depth } = before
  const hashes = hashesIn(before.pdu['auth_events'])
  hashes.set(eventId, referenceHash(version, before.pdu)!)
  const place = {
    prevEvents: [eventId],
    // As many as an event may have.
    authEvents: [eventId, ...authEvents].slice(0, 10),
    depth: depth + 1,
    hashes,
    authorisedBy: undefined,
  }
  const member = { roomId, userId: before.stateKey!, membership: 'leave', content } as const
  const { event } = signMember(version, place, member, { signing, now: now() })
  return { event, json: canonicalEvent(version, event.pdu)! }
}

/** v1–v2: the reference hashes that an event gives of its auth events. */
function hashesIn(references: JsonObject[string] | undefined): Map<string, string> {
  const hashes = new Map<string, string>()
  for (const entry of Array.isArray(references) ? references : []) {
    if (!Array.isArray(entry)) continue
    const [id, hash] = entry
    const sha256 = isObject(hash) ? hash['sha256'] : undefined
    if (typeof id === 'string') hashes.set(id, typeof sha256 === 'string' ? sha256 : '')
  }
  return hashes
}
