import { parseJson } from '#core/canonical-json.ts'
import { badJson, MatrixError, RemoteError } from '#core/error.ts'
import { parsePdu } from '#core/event/check.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { authorisingUserOf } from '#core/content/m.room.member.ts'
import { domainOf } from '#core/ids.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { isTransient } from '#engine/federation/answer.ts'
import { makeJoin, sendJoin } from '#engine/federation/remote-membership.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import { Failures } from '#engine/room/fetch/failures.ts'
import type { JoinedRoom, RemoteJoin, SignedJoin } from '#engine/room/fetch/fetching.ts'
import { checkJoined } from '#engine/room/fetch/joined.ts'
import { readTemplate, signMember } from '#engine/room/fetch/template.ts'

/**
 * Joins a room that only other servers are in. What they answer is checked before anything of it is
 * used; what they ask us to sign is ours but for its place in the room.
 *
 * Spec: server-server-api/#joining-rooms
 */

/** One server that says nothing must not take all of a user's patience. */
const makeJoinMs = 20_000

/** Asks one server after the other; a `MatrixError` says why none let the user in. */
export async function remoteJoin(join: RemoteJoin): Promise<JoinedRoom> {
  const { roomId, userId, versions = [...roomVersions.keys()], now, onSigned } = join
  const deadline = new Deadline(join)
  const failures = new Failures('let you join the room')
  for (const server of join.via) {
    if (failures.final || (deadline.over && server !== join.via[0])) break
    try {
      const template = await makeJoin(deadline.federation, server, roomId, userId, versions, {
        deadlineMs: makeJoinMs,
      })
      const version = roomVersions.get(template.version)!
      const place = readTemplate(server, version, template.event)
      const member = { roomId, userId, membership: 'join', content: join.content } as const
      const { text } = signMember(version, place, member, { signing: join.signing, now: now() })
      const via = [server, ...join.via.filter((other) => other !== server)]
      const signed = { version: version.id, event: text, via }
      await onSigned(signed)
      return await handIn(join, deadline, signed)
    } catch (error) {
      failures.add(error)
    }
  }
  throw failures.toMatrixError()
}

/**
 * Goes on with a join that was signed before a restart: hands in the same event again. Status 5xx
 * says that nobody could be asked; everything below is final.
 */
export async function resumeJoin(
  join: RemoteJoin & Readonly<{ signed: SignedJoin }>,
): Promise<JoinedRoom> {
  const failures = new Failures('let you join the room')
  try {
    return await handIn(join, new Deadline(join), join.signed)
  } catch (error) {
    failures.add(error)
  }
  throw failures.toMatrixError()
}

/**
 * send_join, at the server that made the template and, if it does not answer, at others: but a
 * restricted join only at the server that authorises it, whose signature it lacks.
 */
async function handIn(
  join: RemoteJoin,
  deadline: Deadline,
  { version: versionId, event: text, via }: SignedJoin,
): Promise<JoinedRoom> {
  const version = requireVersion(versionId)
  const event = requireOwn(version, join, text)
  const authoriser = authorisingUserOf(event.content)
  const servers = authoriser === undefined ? via : [...via.slice(0, 1), domainOf(authoriser)!]
  let failure: RemoteError | undefined
  for (const server of new Set(servers)) {
    if (failure && deadline.over) break
    try {
      const answer = await sendJoin(deadline.federation, server, join.roomId, event.eventId, text)
      return await checkJoined({ ...join, deadlineMs: deadline.leftMs }, { server, event, answer })
    } catch (error) {
      if (!(error instanceof RemoteError)) throw error
      failure = error
      if (!isTransient(error)) break
    }
  }
  throw failure ?? new TypeError('A signed join names no server to hand it in at')
}

function requireVersion(id: string): RoomVersion {
  const version = roomVersions.get(id)
  if (version) return version
  throw new MatrixError(
    400,
    'M_INCOMPATIBLE_ROOM_VERSION',
    `This server does not support room version ${id}`,
    { room_version: id },
  )
}

function requireOwn(version: RoomVersion, { roomId }: RemoteJoin, text: string): RoomEvent {
  const parsed = parsePdu(version, parseJson(text), { roomId })
  if ('refused' in parsed) throw badJson(parsed.refused)
  return parsed.ok
}
