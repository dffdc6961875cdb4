import { isEventIdOf } from '#core/ids.ts'
import { eventFlags } from '#store/room/batch.ts'
import { type ReadEvent, loadEvent } from './events.ts'
import { type Reader, type RoomAccess, noSuchEvent } from './room.ts'
import type { Snapshots } from './snapshots.ts'
import { type Seen, joinedUntil, visible } from './visible.ts'

/**
 * One event, if the user may see it. Soft-failed events are served here too, rejected ones never.
 */
export async function readEvent(
  reader: Reader & { snapshots: Snapshots },
  access: RoomAccess | undefined,
  userId: string,
  eventId: string,
): Promise<{ event: ReadEvent; seen: Seen; joinedUntil: number }> {
  if (!access || !isEventIdOf(access.room.version, eventId)) throw noSuchEvent()
  const { room, standing } = access
  const [event, until] = await Promise.all([
    loadEvent(reader.sql, room, eventId),
    joinedUntil(reader.sql, room, userId, standing),
  ])
  if (!event || event.withheld || (event.flags & eventFlags.rejected) !== 0) throw noSuchEvent()
  const found = await visible(reader.sql, reader.snapshots, userId, [{ event, joinedUntil: until }])
  const seen = found.get(event.nid)
  if (!seen) throw noSuchEvent()
  return { event, seen, joinedUntil: until }
}
