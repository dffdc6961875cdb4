import { Type as t } from '@sinclair/typebox'
import { accessOf, limitIn, writeEvents } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { invalidParam } from '#core/error.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import { ignoredBy } from '#engine/read/ignored.ts'
import { readThreads } from '#engine/read/relations.ts'
import { stateHorizon } from '#engine/read/state-at.ts'

export const getThreadRoots = op({
  id: 'getThreadRoots',
  method: 'GET',
  path: '/_matrix/client/v1/rooms/:roomId/threads',
  also: ['/_matrix/client/unstable/org.matrix.msc3856/rooms/:roomId/threads'],
  auth: 'user',
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  query: open({
    include: t.Optional(t.Union([t.Literal('all'), t.Literal('participated')])),
    limit: t.Optional(t.Integer()),
    from: t.Optional(t.String()),
  }),
  response: open({ chunk: t.Array(Content), next_batch: t.Optional(t.String()) }),

  async run({ who, params: { roomId }, query }, ctx) {
    const limit = limitIn(query.limit, 50, 100)
    if (limit === 0) throw invalidParam("'limit' is not greater than zero")
    const [found, ignored] = await Promise.all([
      accessOf(ctx, who, roomId),
      ignoredBy(ctx.sql, who.userId),
    ])
    const { access } = await stateHorizon(ctx, found, roomId, who.userId)
    const { events, seen, next } = await readThreads(ctx, access, {
      userId: who.userId,
      ignored,
      participated: query.include === 'participated',
      from: query.from,
      limit,
    })
    return {
      chunk: await writeEvents(ctx, who, events, seen),
      ...(next !== undefined && { next_batch: next }),
    }
  },
})
