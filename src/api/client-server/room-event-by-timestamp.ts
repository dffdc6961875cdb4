import { Type as t } from '@sinclair/typebox'
import { accessOf } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { EventId, RoomId, open } from '#core/schema.ts'
import { timestampToEvent } from '#engine/federation/remote-events.ts'
import { stateHorizon } from '#engine/read/state-at.ts'
import { eventAtTime } from '#engine/read/timestamp.ts'

export const getEventByTimestamp = op({
  id: 'getEventByTimestamp',
  method: 'GET',
  path: '/_matrix/client/v1/rooms/:roomId/timestamp_to_event',
  also: ['/_matrix/client/unstable/org.matrix.msc3030/rooms/:roomId/timestamp_to_event'],
  auth: 'user',
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  query: open({
    ts: t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    dir: t.Union([t.Literal('f'), t.Literal('b')]),
  }),
  response: open({ event_id: EventId, origin_server_ts: t.Integer() }),

  async run({ who, params: { roomId }, query: { ts, dir } }, ctx) {
    const found = await accessOf(ctx, who, roomId)
    const { access } = await stateHorizon(ctx, found, roomId, who.userId)
    const event = await eventAtTime(ctx, access, who.userId, ts, dir, (...about) =>
      timestampToEvent(ctx.federation, ...about),
    )
    if (!event) throw notFound('There is no event that way of the time')
    return { event_id: event.eventId, origin_server_ts: event.originServerTs }
  },
})
