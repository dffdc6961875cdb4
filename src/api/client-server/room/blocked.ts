import { forbidden } from '#core/error.ts'
import * as blockedRooms from '#store/user/blocked-rooms.ts'
import type { Context } from '#src/context.ts'

/** Refuses a room that an administrator has blocked: nobody here comes to it, nor asks others to. */
export async function requireNotBlocked({ sql }: Pick<Context, 'sql'>, roomId: string) {
  if ((await blockedRooms.blockedBy(sql, roomId)) !== undefined)
    throw forbidden('This room has been blocked on this server')
}
