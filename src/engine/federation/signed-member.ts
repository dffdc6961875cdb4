import { forbidden, invalidParam, MatrixError } from '#core/error.ts'
import { inspectPdu } from '#core/event/check.ts'
import { isThirdPartyInvite } from '#core/event/signatures.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { domainOf } from '#core/ids.ts'
import type { Json } from '#core/json.ts'
import { membershipOf } from '#core/content/m.room.member.ts'
import type { RoomVersion } from '#core/room-version.ts'
import { receiveWithKeys } from '#engine/federation/received.ts'
import type { Federation } from '#engine/worker/protocol.ts'

export type MemberCheck = {
  version: RoomVersion
  roomId: string
  eventId: string
  origin: string
  membership: 'join' | 'leave' | 'invite' | 'knock'
}

const keyDeadlineMs = 10_000

/**
 * What must be so of a membership event that another server hands in, before we put our name to it:
 * it could otherwise have us sign or send an event of its choice.
 *
 * Spec: server-server-api/#put_matrixfederationv2send_joinroomideventid
 */
export async function requireSignedMember(
  federation: Federation,
  clock: () => number,
  pdu: Json,
  check: MemberCheck,
): Promise<RoomEvent> {
  const { version, roomId, eventId, origin, membership } = check
  const inspected = inspectPdu(version, pdu, { roomId })
  if (typeof inspected === 'string') throw invalidParam(inspected)
  const { event } = inspected
  if (event.eventId !== eventId) throw invalidParam('The event has another ID than the path says')
  if (event.type !== 'm.room.member') throw invalidParam('The event is no m.room.member')
  if (membershipOf(event.content) !== membership)
    throw invalidParam(`The membership of the event is not ${membership}`)
  // A third-party invite is made by any server in the room, and the room's rules say whether it is good.
  if (domainOf(event.sender) !== origin && !isThirdPartyInvite(event))
    throw forbidden(`The sender of the event is not a user of ${origin}`)
  if (membership !== 'invite' && event.stateKey !== event.sender)
    throw invalidParam('The state key of the event is not its sender')

  const [judged] = await receiveWithKeys(
    federation,
    clock,
    version,
    [pdu],
    { roomId },
    keyDeadlineMs,
  )
  if (judged!.outcome === 'drop') throw new MatrixError(400, 'M_INVALID_PARAM', judged!.reason)
  const { redacted } = judged as Extract<typeof judged, { outcome: 'accept' }>
  if (redacted) throw invalidParam('The content hash of the event is wrong')
  return event
}
