import { Type as t } from '@sinclair/typebox'
import { limitIn } from '#api/client-server/room/reading.ts'
import { placeIn, tokenFor } from '#api/client-server/room/walk-token.ts'
import { op } from '#api/http/op.ts'
import { RoomId, open } from '#core/schema.ts'
import { walkSpace } from '#engine/read/hierarchy.ts'

const maxDepth = 30

export const getSpaceHierarchy = op({
  id: 'getSpaceHierarchy',
  method: 'GET',
  path: '/_matrix/client/v1/rooms/:roomId/hierarchy',
  also: ['/_matrix/client/unstable/org.matrix.msc2946/rooms/:roomId/hierarchy'],
  auth: 'user',
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  query: open({
    suggested_only: t.Optional(t.Boolean()),
    limit: t.Optional(t.Integer({ minimum: 1 })),
    max_depth: t.Optional(t.Integer({ minimum: 0 })),
    from: t.Optional(t.String()),
  }),

  async run({ who: { userId }, params: { roomId }, query }, ctx) {
    const suggestedOnly = query.suggested_only ?? false
    const depth = Math.min(query.max_depth ?? maxDepth, maxDepth)
    const limit = limitIn(query.limit, 50, 50)
    const of = [roomId, depth, suggestedOnly]
    const skip = query.from === undefined ? 0 : placeIn(query.from, of)
    const { rooms, more } = await walkSpace(ctx, {
      userId,
      roomId,
      maxDepth: depth,
      suggestedOnly,
      skip,
      limit,
    })
    return { rooms, ...(more && { next_batch: tokenFor(skip + limit, of) }) }
  },
})
