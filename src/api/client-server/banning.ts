import { Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { reasonContent } from '#api/client-server/room/member-content.ts'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { RoomId, UserId, open } from '#core/schema.ts'
import { findAccess } from '#engine/read/room.ts'

const params = open({ roomId: RoomId })
const body = open({ user_id: UserId, reason: t.Optional(t.String()) })

export const ban = op({
  id: 'ban',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/ban',
  also: ['/_matrix/client/r0/rooms/:roomId/ban'],
  auth: 'user',
  limit: 'message',
  params,
  body,

  async run({ who, params: { roomId }, body: { user_id: target, reason } }, ctx) {
    const at = await ctx.rooms.call('changeMembership', roomId, {
      sender: who.userId,
      target,
      membership: 'ban',
      content: reasonContent(reason),
    })
    landed(ctx, at)
    return {}
  },
})

export const unban = op({
  id: 'unban',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/unban',
  also: ['/_matrix/client/r0/rooms/:roomId/unban'],
  auth: 'user',
  limit: 'message',
  params,
  body,

  async run({ who, params: { roomId }, body: { user_id: target, reason } }, ctx) {
    // A leave would kick who is not banned.
    const access = await findAccess(ctx.sql, roomId, target)
    if (access && access.standing?.membership !== 'ban') throw forbidden(`${target} is not banned`)
    const at = await ctx.rooms.call('changeMembership', roomId, {
      sender: who.userId,
      target,
      membership: 'leave',
      content: reasonContent(reason),
    })
    landed(ctx, at)
    return {}
  },
})
