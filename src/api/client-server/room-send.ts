import { Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { Timestamp, massaged } from '#api/client-server/room/massaged.ts'
import { op } from '#api/http/op.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, EventId, RoomId, open } from '#core/schema.ts'
import { refuseRelation } from '#engine/read/refuse-relation.ts'

export const sendMessage = op({
  id: 'sendMessage',
  method: 'PUT',
  path: '/_matrix/client/v3/rooms/:roomId/send/:eventType/:txnId',
  also: ['/_matrix/client/r0/rooms/:roomId/send/:eventType/:txnId'],
  auth: 'user',
  admits: ['guest'],
  limit: 'message',
  params: open({ roomId: RoomId, eventType: t.String(), txnId: t.String() }),
  query: open({ ts: Timestamp }),
  body: Content,
  response: open({ event_id: EventId }),

  async run({ who, params, query, body, request }, ctx) {
    const { userId, deviceId } = who
    const { roomId, eventType, txnId } = params
    const { redacts } = body
    const draft = { sender: userId, deviceId, txnId, type: eventType, content: body as JsonObject }
    await refuseRelation(ctx, roomId, draft)
    const at = await ctx.rooms.call('send', roomId, {
      sender: userId,
      type: eventType,
      // As it came: numbers are hashed with the digits they have.
      content: request.text || '{}',
      // A redaction names its target where its room version keeps it.
      ...(eventType === 'm.room.redaction' && typeof redacts === 'string' && { redacts }),
      ...massaged(who, query.ts),
      txn: { userId, deviceId: deviceId ?? '', path: `${roomId}/send/${eventType}`, txnId },
    })
    ctx.presence?.active(userId, deviceId)
    return { event_id: landed(ctx, at) }
  },
})
