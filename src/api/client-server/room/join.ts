import { requireNotBlocked } from '#api/client-server/room/blocked.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { profilesOf } from '#api/client-server/room/member-content.ts'
import { takeSettingsAlong } from '#api/client-server/room/settings.ts'
import { noThirdParties } from '#api/client-server/room/third-party.ts'
import { throughOthers } from '#api/client-server/room/through.ts'
import { invalidParam } from '#core/error.ts'
import { domainOf, isRoomId } from '#core/ids.ts'
import { invitersOf } from '#engine/read/inviters.ts'
import { findAccess } from '#engine/read/room.ts'
import type { Context } from '#src/context.ts'

type Wanted = { reason?: string; third_party_signed?: unknown }

/** Joins a user to a room, here or through servers that may be in it. */
export async function join(
  ctx: Context,
  userId: string,
  roomId: string,
  via: readonly string[],
  { third_party_signed: signed, ...wanted }: Wanted,
): Promise<{ room_id: string }> {
  if (!isRoomId(roomId)) throw invalidParam(`${roomId} is not a room ID`)
  if (signed !== undefined) throw noThirdParties()
  await requireNotBlocked(ctx, roomId)
  const access = await findAccess(ctx.sql, roomId, userId)
  // Who is there already, and says nothing new, makes no second event.
  if (access?.standing?.membership === 'join' && Object.keys(wanted).length === 0)
    return { room_id: roomId }
  const [profiles, inviters] = await Promise.all([
    profilesOf(ctx, [userId]),
    invitersOf(ctx.sql, roomId, userId),
  ])
  // Not spec: what else a client says goes into the event, as other servers have it.
  const content = JSON.stringify({ ...profiles.get(userId), ...wanted })
  // Who asked the user in surely is in the room.
  const others = throughOthers(ctx, roomId, [...via, ...inviters.map(domainOf)])
  const at = await ctx.rooms.call('join', roomId, {
    userId,
    content,
    via: others,
  })
  landed(ctx, at)
  if (access?.standing?.membership !== 'join') await takeSettingsAlong(ctx, userId, roomId)
  return { room_id: roomId }
}
