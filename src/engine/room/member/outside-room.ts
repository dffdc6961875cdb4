import { invalidParam, MatrixError } from '#core/error.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { type RoomVersion, roomVersions } from '#core/room-version.ts'
import { newRoomOutside } from '#engine/room/local/create.ts'
import type { Lane } from '#engine/room/lane.ts'
import { applyOutside } from '#engine/room/member/outside.ts'
import { forget, type Known, type Room } from '#engine/room/room.ts'
import type { Task } from '#engine/room/task.ts'
import { type Outcome, RoomReloaded } from '#engine/room/work.ts'

/**
 * The version by which an event of a room that we are not in is read. That of a room that we are in,
 * or were in, is certain; from outside we know what another server said, which may have been wrong,
 * and may say it better now. But IDs of v1–v2 are no IDs of later versions, so from the one to the
 * other it does not change.
 */
export function versionFor(room: Room | null, id: string): RoomVersion {
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

/** Makes an invite or a knock of one of our users all that we know of a room, if we knew nothing. */
export function* enterOutside(
  lane: Lane,
  there: Room | null,
  event: RoomEvent,
  internal: string,
): Task<{ room: Room; known: Known; outcome: Outcome }> {
  const { parts, roomId } = lane
  const { version } = event
  const room = there ?? newRoomOutside(parts, lane, version)
  const { known, outcome } = yield* applyOutside(parts, room, event, {
    text: canonicalEvent(version, event.pdu)!,
    internal,
    claimed: version.eventFormat === 'named',
  })
  const { part } = outcome
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
  return { room, known, outcome }
}
