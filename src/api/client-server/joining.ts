import { Type as t } from '@sinclair/typebox'
import { join } from '#api/client-server/room/join.ts'
import { requireNamed } from '#api/client-server/room/through.ts'
import { op } from '#api/http/op.ts'
import { guestsMayJoin } from '#core/content/m.room.guest_access.ts'
import { MatrixError } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import { findAccess } from '#engine/read/room.ts'
import { readKeys } from '#engine/read/state-at.ts'
import type { Context } from '#src/context.ts'

const body = open({ reason: t.Optional(t.String()), third_party_signed: t.Optional(t.Unknown()) })
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
