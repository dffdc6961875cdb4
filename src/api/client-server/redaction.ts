import { Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { op } from '#api/http/op.ts'
import { EventId, RoomId, open } from '#core/schema.ts'

export const redactEvent = op({
  id: 'redactEvent',
  method: 'PUT',
  path: '/_matrix/client/v3/rooms/:roomId/redact/:eventId/:txnId',
  also: ['/_matrix/client/r0/rooms/:roomId/redact/:eventId/:txnId'],
  auth: 'user',
  limit: 'message',
  params: open({ roomId: RoomId, eventId: EventId, txnId: t.String() }),
  body: open({ reason: t.Optional(t.String()) }),
  response: open({ event_id: EventId }),

  async run({ who: { userId, deviceId }, params, body }, ctx) {
    const { roomId, eventId, txnId } = params
    const at = await ctx.rooms.call('send', roomId, {
      sender: userId,
      type: 'm.room.redaction',
      content: JSON.stringify({ ...body, redacts: eventId }),
      redacts: eventId,
      txn: { userId, deviceId: deviceId ?? '', path: `${roomId}/redact/${eventId}`, txnId },
    })
    return { event_id: landed(ctx, at) }
  },
})
