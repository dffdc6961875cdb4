import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import { findAccess, notInRoom } from '#engine/read/room.ts'

/** Of a client that does not say how long. */
const usualMs = 30_000

export const setTyping = op({
  id: 'setTyping',
  method: 'PUT',
  path: '/_matrix/client/v3/rooms/:roomId/typing/:userId',
  also: ['/_matrix/client/r0/rooms/:roomId/typing/:userId'],
  auth: 'user',
  limit: 'change',
  params: open({ roomId: RoomId, userId: t.String() }),
  body: open({ typing: t.Boolean(), timeout: t.Optional(t.Integer({ minimum: 0 })) }),
  response: open({}),

  async run({ who: { userId, deviceId }, params, body }, ctx) {
    if (params.userId !== userId) throw forbidden('Only they themselves say that a user types')
    const access = await findAccess(ctx.sql, params.roomId, userId)
    if (access?.standing?.membership !== 'join') throw notInRoom(userId, params.roomId)
    if (body.typing) ctx.typing.start(access.room, userId, body.timeout ?? usualMs)
    else ctx.typing.stop(access.room, userId)
    if (body.typing) ctx.presence?.active(userId, deviceId)
    return {}
  },
})
