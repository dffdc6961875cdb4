import { notFound } from '#core/error.ts'
import { type RoomRef, findRoom } from '#engine/read/room.ts'
import type { Context } from '#src/context.ts'

/** A room that is known here, as an administrator names it. */
export async function requireRoom(ctx: Context, roomId: string): Promise<RoomRef> {
  await ctx.positions.settled()
  const room = await findRoom(ctx.sql, roomId)
  if (!room) throw notFound('There is no such room here')
  return room
}
