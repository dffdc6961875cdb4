import { Type as t } from '@sinclair/typebox'
import { landed } from '#api/client-server/room/landed.ts'
import { accessOf } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { userSuspended } from '#api/http/standing.ts'
import { EventId, RoomId, open } from '#core/schema.ts'
import { readEvent } from '#engine/read/event.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import type { Context } from '#src/context.ts'

export const redactEvent = op({
  id: 'redactEvent',
  method: 'PUT',
  path: '/_matrix/client/v3/rooms/:roomId/redact/:eventId/:txnId',
  also: ['/_matrix/client/r0/rooms/:roomId/redact/:eventId/:txnId'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'message',
  params: open({ roomId: RoomId, eventId: EventId, txnId: t.String() }),
  body: open({ reason: t.Optional(t.String()) }),
  response: open({ event_id: EventId }),

  async run({ who, params, body }, ctx) {
    const { userId, deviceId } = who
    const { roomId, eventId, txnId } = params
    if (who.suspended) await requireOwnEvent(ctx, who, roomId, eventId)
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

/** Spec: client-server-api/#account-suspension */
async function requireOwnEvent(
  ctx: Context,
  who: Session,
  roomId: string,
  eventId: string,
): Promise<void> {
  const access = await accessOf(ctx, who, roomId)
  const { event } = await readEvent(ctx, access, who.userId, eventId)
  if (event.event.sender !== who.userId) throw userSuspended()
}
