import { toRoomEvent } from '#core/event/check.ts'
import { sha256 } from '#core/event/hash.ts'
import type { ReadEvent } from '#engine/read/events.ts'
import type { RoomRef } from '#engine/read/room-ref.ts'

/**
 * What tells a client that a state resolution took somebody's membership away and put no event in its
 * place: a leave that is no event of the room, the same whenever it is told of this position.
 *
 * Not spec: there is no way to say that a key is gone. Without this a client takes them for joined
 * for ever, though the room is among those left, and encrypts for them.
 */
export function leaveWithoutEvent(
  room: RoomRef,
  userId: string,
  position: number,
  now: number,
): ReadEvent {
  const hash = sha256(`${room.roomId} ${userId} ${position}`)
  const pdu = {
    type: 'm.room.member',
    room_id: room.roomId,
    sender: userId,
    state_key: userId,
    content: { membership: 'leave' },
    origin_server_ts: now,
    depth: 0,
    auth_events: [],
    prev_events: [],
    hashes: { sha256: '' },
    signatures: {},
  }
  return {
    nid: noEvent,
    room,
    event: toRoomEvent(room.version, pdu, `$${hash}`, room.roomId),
    redactedBecause: undefined,
    position: undefined,
    chain: undefined,
    index: undefined,
    flags: 0,
    snapshot: undefined,
    replacedNid: undefined,
    internal: {},
    withheld: false,
  }
}

/** No event has this number. */
const noEvent = -1
