import type { Signing } from '#core/event/build.ts'
import type { JsonObject } from '#core/json.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { makeKnock, sendKnock } from '#engine/federation/remote-membership.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import { Failures } from '#engine/room/fetch/failures.ts'
import type { Fetching } from '#engine/room/fetch/fetching.ts'
import type { Signed } from '#engine/room/fetch/leave.ts'
import { readTemplate, signMember } from '#engine/room/fetch/template.ts'

/**
 * Asks to be let into a room that only other servers are in.
 *
 * Spec: server-server-api/#knocking-upon-a-room
 */
export type RemoteKnock = Fetching &
  Readonly<{
    roomId: string
    userId: string
    /** Member content beside `membership`, such as a reason. */
    content: JsonObject
    /** Servers to ask, best first. */
    via: readonly string[]
    signing: Signing
  }>

/** A knock that a server took, and what that server shows of the room, JSON texts. */
export type Knocked = Signed & Readonly<{ server: string; state: readonly string[] }>

/** The room versions in which one can knock. */
const versions = [...roomVersions.values()].filter(({ knocking }) => knocking).map(({ id }) => id)

/** Asks one server after the other; a `MatrixError` says why none took the knock. */
export async function remoteKnock(knock: RemoteKnock): Promise<Knocked> {
  const { roomId, userId, content, signing, now } = knock
  const deadline = new Deadline(knock)
  const { federation } = deadline
  const failures = new Failures('take your knock')
  for (const server of knock.via) {
    if (failures.final || (deadline.over && server !== knock.via[0])) break
    try {
      const template = await makeKnock(federation, server, roomId, userId, versions)
      const version: RoomVersion = roomVersions.get(template.version)!
      const place = readTemplate(server, version, template.event)
      const member = { roomId, userId, membership: 'knock', content } as const
      const { event, text } = signMember(version, place, member, { signing, now: now() })
      const state = await sendKnock(federation, server, roomId, event.eventId, text)
      return { event, json: text, server, state: state.map((each) => JSON.stringify(each)) }
    } catch (error) {
      failures.add(error)
    }
  }
  throw failures.toMatrixError()
}
