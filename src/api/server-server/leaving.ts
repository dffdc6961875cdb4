import { forbidden } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import type { Json } from '#core/json.ts'
import { Content, EventId, RoomId, UserId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { jsonText } from '#api/http/reply.ts'
import { requireSignedMember } from '#engine/federation/signed-member.ts'
import { requireAllowed } from '#engine/read/federation-room.ts'

export const makeLeave = op({
  id: 'makeLeave',
  method: 'GET',
  path: '/_matrix/federation/v1/make_leave/:roomId/:userId',
  auth: 'server',
  limit: 'peer_history',
  params: open({ roomId: RoomId, userId: UserId }),

  async run({ who, params: { roomId, userId } }, ctx) {
    if (domainOf(userId) !== who.origin)
      throw forbidden(`${who.origin} cannot leave for a user of another server`)
    await requireAllowed(ctx, roomId, who.origin)
    const made = await ctx.rooms.call('makeLeave', roomId, userId, who.origin)
    return jsonText(`{"room_version":${JSON.stringify(made.version)},"event":${made.event}}`)
  },
})

export const sendLeaveV2 = op({
  id: 'sendLeaveV2',
  method: 'PUT',
  path: '/_matrix/federation/v2/send_leave/:roomId/:eventId',
  auth: 'server',
  limit: 'peer_history',
  params: open({ roomId: RoomId, eventId: EventId }),
  body: Content,

  async run({ who, params: { roomId, eventId }, body }, ctx) {
    const { origin } = who
    const room = await requireAllowed(ctx, roomId, origin)
    const pdu = body as Json
    const check = { version: room.version, roomId, eventId, origin, membership: 'leave' } as const
    await requireSignedMember(ctx.federation, ctx.clock, pdu, check)
    await ctx.rooms.call('sendLeave', roomId, origin, JSON.stringify(pdu))
    return {}
  },
})
