import { Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { reasonContent } from '#api/client-server/room/member-content.ts'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { RoomId, UserId, open } from '#core/schema.ts'
import { findAccess } from '#engine/read/room.ts'

export const kick = op({
  id: 'kick',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/kick',
  also: ['/_matrix/client/r0/rooms/:roomId/kick'],
  auth: 'user',
  limit: 'message',
  params: open({ roomId: RoomId }),
  body: open({ user_id: UserId, reason: t.Optional(t.String()) }),

  async run({ who, params, body }, ctx) {
    // By the auth rules alone one could kick who is not there.
    const target = await findAccess(ctx.sql, params.roomId, body.user_id)
    if (target && !['join', 'invite', 'knock'].includes(target.standing?.membership ?? ''))
      throw forbidden(`${body.user_id} is not in the room`)
    const at = await ctx.rooms.call('changeMembership', params.roomId, {
      sender: who.userId,
      target: body.user_id,
      membership: 'leave',
      content: reasonContent(body.reason),
    })
    landed(ctx, at)
    return {}
  },
})
