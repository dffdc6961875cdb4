import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { EventId, RoomId, open } from '#core/schema.ts'

const types = ['m.fully_read', 'm.read', 'm.read.private'] as const

export const setReadMarker = op({
  id: 'setReadMarker',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/read_markers',
  also: ['/_matrix/client/r0/rooms/:roomId/read_markers'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'message',
  params: open({ roomId: RoomId }),
  body: open({
    'm.fully_read': t.Optional(EventId),
    'm.read': t.Optional(EventId),
    'm.read.private': t.Optional(EventId),
  }),
  response: open({}),

  async run({ who, params: { roomId }, body }, ctx) {
    const readings = types.flatMap((type) => {
      const eventId = body[type]
      return eventId === undefined ? [] : [{ type, eventId }]
    })
    await ctx.receipts.post(who.userId, roomId, readings)
    return {}
  },
})
