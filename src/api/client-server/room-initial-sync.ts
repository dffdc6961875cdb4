import { Type as t } from '@sinclair/typebox'
import { accessOf, audienceOf, filterIn, writeEvents } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import { writeEvent } from '#engine/read/events.ts'
import { readWhole, stateHorizon } from '#engine/read/state-at.ts'
import { encodeToken } from '#engine/read/sync-token.ts'
import { readPage } from '#engine/read/timeline.ts'
import * as accountData from '#store/user/account-data.ts'
import * as publishedRooms from '#store/user/published-rooms.ts'

/** Not spec: messages of the room, as there is nothing to ask for another number with. */
const messages = 20

export const roomInitialSync = op({
  id: 'roomInitialSync',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/initialSync',
  also: ['/_matrix/client/r0/rooms/:roomId/initialSync'],
  auth: 'user',
  admits: ['guest'],
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  response: open({ room_id: RoomId, state: t.Array(Content) }),

  async run({ who, params: { roomId } }, ctx) {
    const { userId } = who
    const found = await accessOf(ctx, who, roomId)
    const { access, at } = await stateHorizon(ctx, found, roomId, userId)
    const { vector } = await ctx.positions.view(userId)
    const [page, state, kept, isPublished] = await Promise.all([
      readPage(ctx, access, {
        userId,
        direction: 'b',
        from: undefined,
        to: undefined,
        limit: messages,
        filter: filterIn(undefined),
      }),
      readWhole(ctx.sql, access, at),
      accountData.ofRoom(ctx.sql, shardOf(userId), userId, roomId),
      publishedRooms.has(ctx.sql, roomId),
    ])
    const audience = audienceOf(ctx, who)
    const membership = access.standing?.membership
    return {
      room_id: roomId,
      // A knock has no name here.
      ...(membership !== undefined && membership !== 'knock' && { membership }),
      messages: {
        chunk: await writeEvents(ctx, who, page.events.toReversed(), page.seen),
        ...(page.end !== undefined && { start: page.end }),
        end: encodeToken(vector),
      },
      state: state.map((event) => writeEvent(event, audience)),
      visibility: isPublished ? 'public' : 'private',
      account_data: kept.map(({ type, content }) => ({
        type,
        content: JSON.parse(content) as JsonObject,
      })),
    }
  },
})
