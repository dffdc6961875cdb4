import type { AuthSubject } from '#core/event/auth-events.ts'
import { buildEvent, type Built } from '#core/event/build.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import { hashesOf } from '#engine/room/import/rights.ts'
import type { Parts } from '#engine/room/parts.ts'
import { randomEventId } from '#engine/room/local/plan-room.ts'
import type { Room } from '#engine/room/room.ts'

/** Builds and signs an event on top of others, at a depth and a time that are not what they would be live. */
export function buildOn(
  parts: Parts,
  room: Room,
  subject: AuthSubject,
  at: {
    prevs: readonly RoomEvent[]
    auths: readonly RoomEvent[]
    depth: number
    ts: number
  },
): Built {
  const { prevs, auths, depth, ts } = at
  const { version, roomId } = room
  return buildEvent(
    version,
    {
      roomId,
      type: subject.type,
      sender: subject.sender,
      stateKey: subject.stateKey,
      content: subject.content,
      prevEvents: prevs.map(({ eventId }) => eventId),
      authEvents: auths.map(({ eventId }) => eventId),
      depth: Math.max(1, depth),
      originServerTs: ts,
      named:
        version.eventFormat === 'named'
          ? {
              eventId: randomEventId(parts.signing.serverName),
              hashes: hashesOf([...prevs, ...auths]),
            }
          : undefined,
    },
    parts.signing,
  )
}
