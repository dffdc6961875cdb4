import { notFound } from '#core/error.ts'
import { EventId, RoomId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { maxAtOnce } from '#api/http/rate-limit.ts'
import { jsonText } from '#api/http/reply.ts'
import { findServed, isRelayed } from '#engine/read/federation-events.ts'
import { requireInRoom } from '#engine/read/federation-room.ts'
import { listOf } from '#engine/read/federation-state.ts'
import * as serve from '#store/federation/serve.ts'

export const getEventAuth = op({
  id: 'getEventAuth',
  method: 'GET',
  path: '/_matrix/federation/v1/event_auth/:roomId/:eventId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params: open({ roomId: RoomId, eventId: EventId }),

  async run({ who, params }, ctx) {
    const room = await requireInRoom(ctx, params.roomId, who.origin)
    const found = await findServed(ctx.sql, params.eventId)
    if (found?.room.roomNid !== room.roomNid || !isRelayed(found.row))
      throw notFound('The event is not known here')
    const chain = await serve.authChain(ctx.sql, room.shard, [found.row.event_nid])
    return jsonText(`{"auth_chain":${await listOf(ctx.sql, room, chain)}}`)
  },
})
