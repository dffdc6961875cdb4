import { type Static, Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { profilesOf } from '#api/client-server/room/member-content.ts'
import { takeSettingsAlong } from '#api/client-server/room/settings.ts'
import { noThirdParties } from '#api/client-server/room/third-party.ts'
import { requireNamed, throughOthers } from '#api/client-server/room/through.ts'
import { op } from '#api/http/op.ts'
import { guestsMayJoin } from '#core/content/m.room.guest_access.ts'
import { MatrixError, invalidParam } from '#core/error.ts'
import { domainOf, isRoomId } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'
import { invitersOf } from '#engine/read/inviters.ts'
import { findAccess } from '#engine/read/room.ts'
import { readKeys } from '#engine/read/state-at.ts'
import type { Context } from '#src/context.ts'

const body = open({ reason: t.Optional(t.String()), third_party_signed: t.Optional(t.Unknown()) })
type Body = Static<typeof body>
const response = open({ room_id: RoomId })

export const joinRoomById = op({
  id: 'joinRoomById',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/join',
  also: ['/_matrix/client/r0/rooms/:roomId/join'],
  auth: 'user',
  admits: ['guest'],
  limit: 'join',
  params: open({ roomId: RoomId }),
  body,
  response,

  async run({ who, params, body }, ctx) {
    if (who.guest) await requireOpenToGuests(ctx, params.roomId, who.userId)
    return join(ctx, who.userId, params.roomId, [], body)
  },
})

export const joinRoom = op({
  id: 'joinRoom',
  method: 'POST',
  path: '/_matrix/client/v3/join/:roomIdOrAlias',
  also: ['/_matrix/client/r0/join/:roomIdOrAlias'],
  auth: 'user',
  limit: 'join',
  params: open({ roomIdOrAlias: t.String() }),
  query: open({
    via: t.Optional(t.Array(t.String())),
    server_name: t.Optional(t.Array(t.String())),
  }),
  body,
  response,

  async run({ who, params: { roomIdOrAlias: name }, query, body }, ctx) {
    const { roomId, via } = await requireNamed(ctx, name, query)
    return join(ctx, who.userId, roomId, via, body)
  },
})

/** Spec: client-server-api/#guest-access; of a room that is not known here nobody can say. */
async function requireOpenToGuests(ctx: Context, roomId: string, userId: string): Promise<void> {
  const { rooms } = await ctx.positions.settled()
  const access = await findAccess(ctx.sql, roomId, userId)
  const [state] = access
    ? await readKeys(ctx.sql, access, rooms[access.room.shard]!, [
        { type: 'm.room.guest_access', stateKey: '' },
      ])
    : []
  if (!guestsMayJoin(state?.event.content))
    throw new MatrixError(403, 'M_GUEST_ACCESS_FORBIDDEN', 'Guests may not join this room')
}

async function join(
  ctx: Context,
  userId: string,
  roomId: string,
  via: readonly string[],
  { third_party_signed: signed, ...wanted }: Body,
): Promise<{ room_id: string }> {
  if (!isRoomId(roomId)) throw invalidParam(`${roomId} is not a room ID`)
  if (signed !== undefined) throw noThirdParties()
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
