import { forbidden, MatrixError, RemoteError } from '#core/error.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import { domainOf, isServerName } from '#core/ids.ts'
import { invite } from '#engine/federation/remote-membership.ts'
import { withSignatureOf } from '#engine/room/fetch/countersign.ts'
import { Deadline } from '#engine/room/fetch/deadline.ts'
import { Failures } from '#engine/room/fetch/failures.ts'
import type { Fetching } from '#engine/room/fetch/fetching.ts'
import type { Signed } from '#engine/room/fetch/leave.ts'

/**
 * Asks the server of an invited user to take the invite, before the room has it.
 *
 * Spec: server-server-api/#inviting-to-a-room
 */
export type RemoteInvite = Fetching &
  Signed &
  Readonly<{
    /** What the invitee is shown of the room, JSON texts: events, the create event among them. */
    inviteRoomState: readonly string[]
  }>

/** The invite with the signature of the invitee's server; a `MatrixError` says why it has none. */
export async function remoteInvite(request: RemoteInvite): Promise<Signed> {
  const { event, json, inviteRoomState } = request
  const { roomId, eventId, version } = event
  const server = domainOf(event.stateKey ?? '')
  if (server === undefined || !isServerName(server))
    throw forbidden('The invited user is of no server')
  const deadline = new Deadline(request)
  const failures = new Failures('take the invite')
  try {
    const returned = await invite(deadline.federation, server, {
      roomId,
      eventId,
      version: version.id,
      event: json,
      inviteRoomState,
    })
    const fetching = { ...request, deadlineMs: deadline.leftMs }
    const signed = await withSignatureOf(fetching, { server, event, returned, signer: server })
    return { event: signed, json: canonicalEvent(version, signed.pdu)! }
  } catch (error) {
    if (error instanceof RemoteError && error.errcode === 'M_INCOMPATIBLE_ROOM_VERSION')
      throw new MatrixError(
        400,
        'M_UNSUPPORTED_ROOM_VERSION',
        `${server} does not support room version ${version.id}`,
      )
    failures.add(error)
  }
  throw failures.toMatrixError()
}
