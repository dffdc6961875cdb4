import { Type as t } from '@sinclair/typebox'
import { requireNotBlocked } from '#api/client-server/room/blocked.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { memberContent } from '#api/client-server/room/member-content.ts'
import { requireNamed, throughOthers } from '#api/client-server/room/through.ts'
import { op } from '#api/http/op.ts'
import { RoomId, open } from '#core/schema.ts'

export const knockRoom = op({
  id: 'knockRoom',
  method: 'POST',
  path: '/_matrix/client/v3/knock/:roomIdOrAlias',
  auth: 'user',
  limit: 'join',
  params: open({ roomIdOrAlias: t.String() }),
  query: open({
    via: t.Optional(t.Array(t.String())),
    server_name: t.Optional(t.Array(t.String())),
  }),
  body: open({ reason: t.Optional(t.String()) }),
  response: open({ room_id: RoomId }),

  async run({ who: { userId }, params, query, body }, ctx) {
    const { roomId, via } = await requireNamed(ctx, params.roomIdOrAlias, query)
    await requireNotBlocked(ctx, roomId)
    const at = await ctx.rooms.call('knock', roomId, {
      userId,
      content: await memberContent(ctx, userId, body.reason),
      via: throughOthers(ctx, roomId, via),
    })
    landed(ctx, at)
    return { room_id: roomId }
  },
})
