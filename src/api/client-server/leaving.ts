import { Type as t } from '@sinclair/typebox'
import { accessOf } from '#api/client-server/room/reading.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { reasonContent } from '#api/client-server/room/member-content.ts'
import { op } from '#api/http/op.ts'
import { MatrixError, notFound } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import { eventIdOfNid, noMemberEvent } from '#engine/read/forgotten.ts'

const params = open({ roomId: RoomId })

export const leaveRoom = op({
  id: 'leaveRoom',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/leave',
  also: ['/_matrix/client/r0/rooms/:roomId/leave'],
  auth: 'user',
  admits: ['guest', 'suspended'],
  limit: 'message',
  params,
  body: open({ reason: t.Optional(t.String()) }),

  async run({ who: { userId }, params: { roomId }, body }, ctx) {
    const at = await ctx.rooms.call('changeMembership', roomId, {
      sender: userId,
      target: userId,
      membership: 'leave',
      content: reasonContent(body.reason),
    })
    landed(ctx, at)
    return {}
  },
})

export const forgetRoom = op({
  id: 'forgetRoom',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/forget',
  also: ['/_matrix/client/r0/rooms/:roomId/forget'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params,

  async run({ who, params: { roomId } }, ctx) {
    const access = await accessOf(ctx, who, roomId)
    if (!access) throw notFound(`There is no room ${roomId} here`)
    const { room, standing } = access
    // Never in it, or forgotten already.
    if (!standing) return {}
    if (standing.membership !== 'leave' && standing.membership !== 'ban')
      throw new MatrixError(400, 'M_UNKNOWN', 'You must leave the room before you can forget it')
    const eventId =
      standing.eventNid === undefined
        ? noMemberEvent
        : await eventIdOfNid(ctx.sql, room, standing.eventNid)
    const at = await ctx.users.call('forgetRoom', who.userId, roomId, eventId)
    ctx.positions.advanceUsers([[at.shard, at.position]])
    return {}
  },
})
