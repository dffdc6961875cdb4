import { membershipOf } from '#core/content/m.room.member.ts'
import { invalidParam } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as readMembers from '#store/room/read-members.ts'
import { type ReadEvent, loadEvents } from './events.ts'
import type { Reader, RoomAccess } from './room.ts'
import { decodeToken, isSyncToken } from './sync-token.ts'
import { decodePlace } from './timeline-token.ts'
import { positionOf } from './walk.ts'

/** Which members are asked for. */
export type MemberFilter = {
  readonly membership: string | undefined
  readonly notMembership: string | undefined
}

/** The member events of a room at a position. */
export async function readMemberEvents(
  sql: Sql,
  { room }: Pick<RoomAccess, 'room'>,
  at: number,
  { membership, notMembership }: MemberFilter,
): Promise<ReadEvent[]> {
  const rows = await readMembers.eventsAt(sql, room.shard, room.roomNid, at)
  const wanted = rows.map((row) => ({ shard: room.shard, nid: row.event_nid }))
  const events = await loadEvents(sql, new Map([[room.roomNid, room]]), wanted)
  return [...events.values()].filter(({ event }) => {
    const own = membershipOf(event.content)
    return (
      own !== undefined &&
      (membership === undefined || own === membership) &&
      (notMembership === undefined || own !== notMembership)
    )
  })
}

/** The position that `at` of /members stands for. */
export async function positionAt(
  reader: Reader,
  { room }: RoomAccess,
  at: string,
): Promise<number> {
  if (isSyncToken(at)) return decodeToken(at).rooms[room.shard]!
  const place = decodePlace(at)
  // Nothing is before it, so members are those of the sync that it came with.
  if (place.position !== undefined) return place.position
  const position = await positionOf(reader.sql, room, place)
  if (position === undefined) throw invalidParam('`at` is not a token of this room')
  return position
}

export type JoinedMember = { userId: string; event: ReadEvent }

/** Who is joined to a room, as last committed. */
export async function readJoined(
  sql: Sql,
  { room }: Pick<RoomAccess, 'room'>,
): Promise<JoinedMember[]> {
  const rows = await readMembers.joined(sql, room.shard, room.roomNid)
  const wanted = rows.map((row) => ({ shard: room.shard, nid: row.event_nid }))
  const events = await loadEvents(sql, new Map([[room.roomNid, room]]), wanted)
  return rows.flatMap((row) => {
    const event = events.get(row.event_nid)
    return event ? [{ userId: row.user_id, event }] : []
  })
}

/** The rooms a user is joined to. */
export const joinedRoomIds = async (sql: Sql, userId: string): Promise<string[]> =>
  (await readMembers.joinedRooms(sql, userId)).map((row) => row.room_id)
