import { Type as t } from '@sinclair/typebox'
import { notFound } from '#core/error.ts'
import { RoomId, open } from '#core/schema.ts'
import { op } from '#api/http/op.ts'
import { maxAtOnce } from '#api/http/rate-limit.ts'
import { requireAllowed } from '#engine/read/federation-room.ts'
import { readSpaceRooms, visibleToServer } from '#engine/read/space-rooms.ts'

/** Children of one space that are told. */
const maxChildren = 200

export const getSpaceHierarchy = op({
  id: 'getSpaceHierarchy',
  method: 'GET',
  path: '/_matrix/federation/v1/hierarchy/:roomId',
  auth: 'server',
  limit: 'peer_history',
  atOnce: maxAtOnce,
  params: open({ roomId: RoomId }),
  query: open({ suggested_only: t.Optional(t.Boolean()) }),

  async run({ who: { origin }, params: { roomId }, query }, ctx) {
    await requireAllowed(ctx, roomId, origin)
    const room = (await readSpaceRooms(ctx, [roomId])).get(roomId)
    if (!room || !(await visibleToServer(ctx, [room], origin)).has(roomId))
      throw notFound('There is no such room that your users could join')
    const isWanted = (index: number) => !query.suggested_only || room.children[index]!.suggested
    const wanted = room.children.filter((_, index) => isWanted(index)).slice(0, maxChildren)
    const ids = wanted.map((child) => child.roomId)
    const known = await readSpaceRooms(ctx, ids)
    const children = ids.flatMap((id) => known.get(id) ?? [])
    const visible = await visibleToServer(ctx, children, origin)
    return {
      room: {
        ...room.summary,
        children_state: room.childrenState.filter((_, index) => isWanted(index)),
      },
      children: children.map((each) => each.summary).filter((each) => visible.has(each.room_id)),
      inaccessible_children: children
        .map((each) => each.summary.room_id)
        .filter((id) => !visible.has(id)),
    }
  },
})
