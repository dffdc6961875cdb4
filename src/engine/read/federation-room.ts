import { forbidden, notFound } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as serve from '#store/federation/serve.ts'
import { findRoom } from './room.ts'
import type { RoomRef } from './room-ref.ts'

type Acl = { allows(server: string): boolean }

/** Rooms as the intake knows them. */
type Rooms = {
  find(
    sql: Sql,
    roomIds: readonly string[],
  ): Promise<Map<string, { kind: string; acl: Acl | undefined }>>
}

/** What serving other servers needs of the context. */
export type Served = { readonly sql: Sql; readonly intake: { readonly rooms: Rooms } }

/**
 * A room that another server asks about. It is told that the room exists only if the room's access
 * list lets it in.
 *
 * Spec: server-server-api/#server-access-control-lists-acls
 */
export async function requireAllowed(
  { sql, intake }: Served,
  roomId: string,
  origin: string,
): Promise<RoomRef> {
  const [room, found] = await Promise.all([findRoom(sql, roomId), intake.rooms.find(sql, [roomId])])
  const inbound = found.get(roomId)
  requireOnList(inbound, origin)
  if (!room || inbound?.kind !== 'joined') throw notFound('This server is not in the room')
  return room
}

/** Refuses a server that the access list of a room keeps out, whatever else is known of the room. */
export async function requireNotKeptOut(
  { sql, intake }: Served,
  roomId: string,
  origin: string,
): Promise<void> {
  requireOnList((await intake.rooms.find(sql, [roomId])).get(roomId), origin)
}

function requireOnList(room: { acl: Acl | undefined } | undefined, origin: string): void {
  if (room?.acl && !room.acl.allows(origin))
    throw forbidden(`The access list of the room does not allow ${origin}`)
}

/** The same, for what only servers in the room may know. */
export async function requireInRoom(
  served: Served,
  roomId: string,
  origin: string,
): Promise<RoomRef> {
  const room = await requireAllowed(served, roomId, origin)
  if (!(await serve.isInRoom(served.sql, room.shard, room.roomNid, origin)))
    throw forbidden(`${origin} has no user in the room`)
  return room
}
