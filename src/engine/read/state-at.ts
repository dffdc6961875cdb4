import { shardOfNid } from '#core/shard.ts'
import type { Sql } from '#store/db.ts'
import * as readState from '#store/room/read-state.ts'
import { type ReadEvent, loadEvents } from './events.ts'
import { type Reader, type RoomAccess, notInRoom } from './room.ts'
import { joinedUntil, neverJoined } from './visible.ts'

/** Up to where a user may read a room's state: its shard's position now, or where they left. */
export async function stateHorizon(
  reader: Reader,
  access: RoomAccess | undefined,
  roomId: string,
  userId: string,
): Promise<{ access: RoomAccess; at: number }> {
  const { sql, positions } = reader
  if (!access) throw notInRoom(userId, roomId)
  const { room, standing } = access
  const { rooms } = await positions.settled()
  const now = rooms[room.shard]!
  const until = await joinedUntil(sql, room, userId, standing)
  if (until !== neverJoined) return { access, at: Math.min(until, now) }
  if (await isWorldReadable(sql, access, now)) return { access, at: now }
  throw notInRoom(userId, roomId)
}

/** Whether anyone may read the room as it is at a position. */
export async function isWorldReadable(
  sql: Sql,
  { room }: RoomAccess,
  at: number,
): Promise<boolean> {
  const event = await readKey(sql, { room }, at, 'm.room.history_visibility', '')
  return event?.event.content['history_visibility'] === 'world_readable'
}

/** The whole state of a room at a position. */
export async function readWhole(
  sql: Sql,
  { room }: Pick<RoomAccess, 'room'>,
  at: number,
): Promise<ReadEvent[]> {
  const rows = await readState.stateAt(
    sql,
    [{ shard: room.shard, roomNid: room.roomNid, at }],
    false,
  )
  const wanted = rows.map((row) => ({ shard: row.shard, nid: row.event_nid }))
  return [...(await loadEvents(sql, new Map([[room.roomNid, room]]), wanted)).values()]
}

/** Some keys of a room's state at a position. */
export async function readKeys(
  sql: Sql,
  { room }: Pick<RoomAccess, 'room'>,
  at: number,
  keys: readonly { type: string; stateKey: string }[],
): Promise<ReadEvent[]> {
  const { shard, roomNid } = room
  const rows = await readState.keysAt(
    sql,
    keys.map((key) => ({ shard, roomNid, at, ...key })),
  )
  const wanted = rows.map((row) => ({ shard: shardOfNid(row.event_nid), nid: row.event_nid }))
  return [...(await loadEvents(sql, new Map([[roomNid, room]]), wanted)).values()]
}

/** One key of a room's state at a position. */
export async function readKey(
  sql: Sql,
  access: Pick<RoomAccess, 'room'>,
  at: number,
  type: string,
  stateKey: string,
): Promise<ReadEvent | undefined> {
  const [event] = await readKeys(sql, access, at, [{ type, stateKey }])
  return event
}
