import { Type as t } from '@sinclair/typebox'
import { requireNamed, throughOthers } from '#api/client-server/room/through.ts'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import { open } from '#core/schema.ts'
import { invitersOf } from '#engine/read/inviters.ts'
import { findAccess } from '#engine/read/room.ts'
import { isOpenToAll, readSpaceRooms, visibleToUser } from '#engine/read/space-rooms.ts'

export const getRoomSummary = op({
  id: 'getRoomSummary',
  method: 'GET',
  path: '/_matrix/client/v1/room_summary/:roomIdOrAlias',
  also: [
    '/_matrix/client/unstable/im.nheko.summary/summary/:roomIdOrAlias',
    '/_matrix/client/unstable/im.nheko.summary/rooms/:roomIdOrAlias/summary',
  ],
  auth: 'userOptional',
  limit: 'lookup',
  params: open({ roomIdOrAlias: t.String() }),
  query: open({ via: t.Optional(t.Array(t.String())) }),

  async run({ who, params: { roomIdOrAlias: name }, query }, ctx) {
    const { roomId, via } = await requireNamed(ctx, name, query)
    const own = (await readSpaceRooms(ctx, [roomId])).get(roomId)
    const unknown = () => notFound(`There is no room ${name} that you may see`)
    if (!who) {
      // Not spec: other servers are asked only for those who have an account here.
      if (!own || !isOpenToAll(own.summary)) throw unknown()
      return own.summary
    }
    const { userId } = who
    const inviters = own ? [] : await invitersOf(ctx.sql, roomId, userId)
    const others = throughOthers(ctx, roomId, [...via, ...inviters.map(domainOf)])
    const room = own ?? (await ctx.remoteSpaces.find(roomId, others))?.room
    if (!room || !(await visibleToUser(ctx, [room], userId)).has(roomId)) throw unknown()
    const standing = (await findAccess(ctx.sql, roomId, userId))?.standing
    return { ...room.summary, ...(standing && { membership: standing.membership }) }
  },
})
