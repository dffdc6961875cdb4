import { forbidden, notFound } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import type { Rooms } from '#engine/worker/protocol.ts'
import * as readMembers from '#store/room/read-members.ts'
import * as readRooms from '#store/room/read-rooms.ts'
import type { Positions } from './positions.ts'
import { type RoomRef, toRef } from './room-ref.ts'

export type { RoomRef }

/** What reading needs of the context. */
export type Reader = {
  readonly sql: Sql
  readonly serverName: string
  readonly clock: () => number
  readonly positions: Positions
  readonly rooms: Rooms
}

export async function findRoom(sql: Sql, roomId: string): Promise<RoomRef | undefined> {
  const [row] = await readRooms.byIds(sql, [roomId])
  return row && toRef(row)
}

/** A user's own place in a room, as last committed. */
export type Standing = {
  /** A membership that a resolution took away, with no event in its place, is a leave. */
  readonly membership: string
  readonly eventNid: number | undefined
  readonly position: number
}

export type RoomAccess = { readonly room: RoomRef; readonly standing: Standing | undefined }

/** A room and what the user is to it; undefined if the server does not know the room. */
export async function findAccess(
  sql: Sql,
  roomId: string,
  userId: string,
): Promise<RoomAccess | undefined> {
  const [room, rows] = await Promise.all([
    findRoom(sql, roomId),
    readMembers.membershipOf(sql, roomId, userId),
  ])
  if (!room) return undefined
  const [row] = rows
  if (!row) return { room, standing: undefined }
  const { membership, event_nid: eventNid, position } = row
  if (eventNid === null)
    return { room, standing: { membership: 'leave', eventNid: undefined, position } }
  return { room, standing: { membership, eventNid, position } }
}

export const notInRoom = (userId: string, roomId: string) =>
  forbidden(`User ${userId} is not in room ${roomId}`)

export const noSuchEvent = () => notFound('The event is not known here, or not visible to you')
