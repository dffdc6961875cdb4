import { shardOfNid } from '#core/shard.ts'
import * as listRooms from '#store/room/list-rooms.ts'
import { packEventId } from '#store/room/event-id.ts'
import { type DirectoryEntry, describeRooms } from './directory.ts'
import { type ReadEvent, loadEvents } from './events.ts'
import type { Reader } from './room.ts'

/** Some events with what their rooms show of themselves, as far as they are known here. */
export async function reportedEvents(
  reader: Pick<Reader, 'sql' | 'positions'>,
  wanted: readonly { roomId: string; eventId: string }[],
): Promise<{ rooms: Map<string, DirectoryEntry>; events: Map<string, ReadEvent> }> {
  const { sql } = reader
  if (wanted.length === 0) return { rooms: new Map(), events: new Map() }
  const [rows, nids] = await Promise.all([
    listRooms.byIds(sql, [...new Set(wanted.map(({ roomId }) => roomId))]),
    listRooms.nidsOf(
      sql,
      wanted.map(({ eventId }) => packEventId(eventId)),
    ),
  ])
  const described = await describeRooms(reader, rows)
  const refs = new Map(described.map(({ room }) => [room.roomNid, room]))
  const events = await loadEvents(
    sql,
    refs,
    nids.map(({ event_nid: nid }) => ({ shard: shardOfNid(nid), nid })),
  )
  return {
    rooms: new Map(described.map(({ entry }) => [entry.room_id, entry])),
    events: new Map([...events.values()].map((event) => [event.event.eventId, event])),
  }
}
