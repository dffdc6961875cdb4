import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { RoomId, open } from '#core/schema.ts'
import { joinedRoomIds } from '#engine/read/members.ts'

export const getJoinedRooms = op({
  id: 'getJoinedRooms',
  method: 'GET',
  path: '/_matrix/client/v3/joined_rooms',
  also: ['/_matrix/client/r0/joined_rooms'],
  auth: 'user',
  response: open({ joined_rooms: t.Array(RoomId) }),

  async run({ who }, ctx) {
    return { joined_rooms: await joinedRoomIds(ctx.sql, who.userId) }
  },
})
