import { Type as t } from '@sinclair/typebox'
import { audienceOf } from '#api/admin/rooms/audience.ts'
import { requireRoom } from '#api/admin/rooms/find.ts'
import { Paging, orderOf, pageOf, textOf } from '#api/admin/lists/paging.ts'
import { filterIn, limitIn } from '#api/client-server/room/reading.ts'
import { placeIn, tokenFor } from '#api/client-server/room/walk-token.ts'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { isRoomId } from '#core/ids.ts'
import { Content, EventId, RoomId, open } from '#core/schema.ts'
import { readContextOf } from '#engine/read/context.ts'
import { walkSpace } from '#engine/read/hierarchy.ts'
import { type ReadEvent, loadEvent, writeEvent } from '#engine/read/events.ts'
import * as listed from '#engine/read/listed-rooms.ts'
import { readJoined } from '#engine/read/members.ts'
import { readWhole } from '#engine/read/state-at.ts'
import { stateBefore } from '#engine/read/state-before.ts'
import { readPage } from '#engine/read/timeline.ts'
import { anyEventAtTime } from '#engine/read/timestamp.ts'
import * as blockedRooms from '#store/user/blocked-rooms.ts'
import type { Context } from '#src/context.ts'

// Rooms as administrators look at them and block them, in the form that known tools speak.

const path = '/_synapse/admin/v1/rooms'
const params = open({ roomId: RoomId })

const orders = ['alphabetical', 'size', ...listed.roomOrders] as const
/** What these are called now. */
const older = { alphabetical: 'name', size: 'joined_members' } as const
/** The largest come first. */
const largest = new Set(['joined_members', 'joined_local_members', 'version', 'state_events'])

export const listRooms = op({
  id: 'listRooms',
  method: 'GET',
  path,
  auth: 'admin',
  query: open({
    ...Paging,
    search_term: t.Optional(t.String()),
    public_rooms: t.Optional(t.Boolean()),
    empty_rooms: t.Optional(t.Boolean()),
  }),
  response: open({ rooms: t.Array(open({ room_id: RoomId })), total_rooms: t.Integer() }),

  async run({ query }, ctx) {
    const { from, limit } = pageOf(query)
    const wanted = orderOf(query.order_by, orders, 'name')
    const order = wanted === 'alphabetical' || wanted === 'size' ? older[wanted] : wanted
    const { rooms, total } = await listed.listedRooms(
      ctx,
      {
        term: textOf(query.search_term),
        published: query.public_rooms,
        empty: query.empty_rooms,
      },
      { from, limit, order, backwards: (query.dir === 'b') !== largest.has(order) },
    )
    return {
      rooms,
      offset: from,
      total_rooms: total,
      ...(from + limit < total && { next_batch: from + limit }),
      ...(from > 0 && { prev_batch: Math.max(0, from - limit) }),
    }
  },
})

export const getRoom = op({
  id: 'getRoom',
  method: 'GET',
  path: `${path}/:roomId`,
  auth: 'admin',
  params,
  response: open({ room_id: RoomId }),

  async run({ params: { roomId } }, ctx) {
    await requireRoom(ctx, roomId)
    const room = await listed.listedRoom(ctx, roomId)
    if (!room) throw notFound('No user of this server is or was in the room')
    return room
  },
})

export const getRoomMembers = op({
  id: 'getRoomMembers',
  method: 'GET',
  path: `${path}/:roomId/members`,
  auth: 'admin',
  params,
  response: open({ members: t.Array(t.String()), total: t.Integer() }),

  async run({ params: { roomId } }, ctx) {
    const members = await readJoined(ctx.sql, { room: await requireRoom(ctx, roomId) })
    return { members: members.map(({ userId }) => userId), total: members.length }
  },
})

export const getStateOfRoom = op({
  id: 'getStateOfRoom',
  method: 'GET',
  path: `${path}/:roomId/state`,
  auth: 'admin',
  params,
  response: open({ state: t.Array(Content) }),

  async run({ who, params: { roomId } }, ctx) {
    const room = await requireRoom(ctx, roomId)
    const { rooms } = await ctx.positions.settled()
    const events = await readWhole(ctx.sql, { room }, rooms[room.shard]!)
    const audience = audienceOf(ctx, who.userId)
    return { state: events.map((event) => writeEvent(event, audience)) }
  },
})

export const getMessagesOfRoom = op({
  id: 'getMessagesOfRoom',
  method: 'GET',
  path: `${path}/:roomId/messages`,
  auth: 'admin',
  params,
  query: open({
    from: t.Optional(t.String()),
    to: t.Optional(t.String()),
    dir: t.Optional(t.Union([t.Literal('b'), t.Literal('f')])),
    limit: t.Optional(t.Integer()),
    filter: t.Optional(t.String()),
  }),
  response: open({ chunk: t.Array(Content), start: t.String(), end: t.Optional(t.String()) }),

  async run({ who, params: { roomId }, query }, ctx) {
    const room = await requireRoom(ctx, roomId)
    const filter = filterIn(query.filter)
    // As whoever is no member, so that nobody is asked for history, from the room's end.
    const { rooms } = await ctx.positions.settled()
    const standing = { membership: 'leave', eventNid: undefined, position: rooms[room.shard]! }
    const { events, start, end } = await readPage(
      ctx,
      { room, standing },
      {
        userId: who.userId,
        direction: query.dir ?? 'f',
        from: query.from,
        to: query.to,
        limit: limitIn(query.limit ?? filter.limit, 10, 1000),
        filter,
        everything: true,
      },
    )
    const audience = audienceOf(ctx, who.userId)
    const chunk = events.map((event) => writeEvent(event, audience))
    return { chunk, start, ...(end !== undefined && { end }) }
  },
})

export const getContextInRoom = op({
  id: 'getContextInRoom',
  method: 'GET',
  path: `${path}/:roomId/context/:eventId`,
  auth: 'admin',
  params: open({ roomId: RoomId, eventId: EventId }),
  query: open({ limit: t.Optional(t.Integer()), filter: t.Optional(t.String()) }),
  response: open({ event: Content, events_before: t.Array(Content) }),

  async run({ who, params: { roomId, eventId }, query }, ctx) {
    const filter = filterIn(query.filter)
    const event = await loadEvent(ctx.sql, await requireRoom(ctx, roomId), eventId)
    if (!event) throw notFound('There is no such event in the room')
    const limit = limitIn(query.limit, 10, 100)
    const { before, after, start, end } = await readContextOf(ctx, event, who.userId, limit, filter)
    const state = await stateBefore(ctx, after.at(-1) ?? event, undefined)
    const audience = audienceOf(ctx, who.userId)
    const written = (events: readonly ReadEvent[]) =>
      events.map((each) => writeEvent(each, audience))
    return {
      event: writeEvent(event, audience),
      events_before: written(before),
      events_after: written(after),
      state: written(state),
      start,
      end,
    }
  },
})

export const getEventOfRoomByTimestamp = op({
  id: 'getEventOfRoomByTimestamp',
  method: 'GET',
  path: `${path}/:roomId/timestamp_to_event`,
  auth: 'admin',
  params,
  query: open({
    ts: t.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
    dir: t.Optional(t.Union([t.Literal('f'), t.Literal('b')])),
  }),
  response: open({ event_id: EventId, origin_server_ts: t.Integer() }),

  async run({ params: { roomId }, query: { ts, dir = 'f' } }, ctx) {
    const found = await anyEventAtTime(ctx.sql, await requireRoom(ctx, roomId), ts, dir)
    if (!found) throw notFound('There is no event that way of the time')
    return { event_id: found.eventId, origin_server_ts: found.originServerTs }
  },
})

export const getHierarchyOfRoom = op({
  id: 'getHierarchyOfRoom',
  method: 'GET',
  path: `${path}/:roomId/hierarchy`,
  auth: 'admin',
  params,
  query: open({
    from: t.Optional(t.String()),
    limit: t.Optional(t.Integer({ minimum: 1 })),
    max_depth: t.Optional(t.Integer({ minimum: 0 })),
  }),
  response: open({ rooms: t.Array(Content), next_batch: t.Optional(t.String()) }),

  async run({ who: { userId }, params: { roomId }, query }, ctx) {
    await requireRoom(ctx, roomId)
    const maxDepth = Math.min(query.max_depth ?? 30, 30)
    const limit = limitIn(query.limit, 50, 50)
    const of = [roomId, maxDepth, 'all']
    const skip = query.from === undefined ? 0 : placeIn(query.from, of)
    const { rooms, more } = await walkSpace(ctx, {
      userId,
      roomId,
      maxDepth,
      suggestedOnly: false,
      skip,
      limit,
      everything: true,
    })
    return { rooms, ...(more && { next_batch: tokenFor(skip + limit, of) }) }
  },
})

export const getForwardExtremities = op({
  id: 'getForwardExtremities',
  method: 'GET',
  path: `${path}/:roomId/forward_extremities`,
  auth: 'admin',
  params,
  response: open({ count: t.Integer(), results: t.Array(open({ event_id: EventId })) }),

  async run({ params: { roomId } }, ctx) {
    const results = await listed.extremitiesOf(ctx.sql, await requireRoom(ctx, roomId))
    return { count: results.length, results }
  },
})

export const getRoomBlock = op({
  id: 'getRoomBlock',
  method: 'GET',
  path: `${path}/:roomId/block`,
  auth: 'admin',
  params,
  response: open({ block: t.Boolean(), user_id: t.Optional(t.String()) }),

  async run({ params: { roomId } }, ctx) {
    const by = await blockedRooms.blockedBy(ctx.sql, named(roomId))
    return { block: by !== undefined, ...(by !== undefined && { user_id: by }) }
  },
})

export const putRoomBlock = op({
  id: 'putRoomBlock',
  method: 'PUT',
  path: `${path}/:roomId/block`,
  auth: 'admin',
  params,
  body: open({ block: t.Boolean() }),
  response: open({ block: t.Boolean() }),

  async run({ who, params: { roomId }, body: { block } }, ctx) {
    // It may be blocked before anybody here has heard of it.
    if (block) await blockedRooms.add(ctx.sql, named(roomId), who.userId, ctx.clock())
    else await blockedRooms.remove(ctx.sql, named(roomId))
    return { block }
  },
})

function named(roomId: string): string {
  if (!isRoomId(roomId)) throw invalidParam(`${roomId} is not a room ID`)
  return roomId
}

export const fetchEvent = op({
  id: 'fetchEvent',
  method: 'GET',
  path: '/_synapse/admin/v1/fetch_event/:eventId',
  auth: 'admin',
  params: open({ eventId: EventId }),
  response: open({ event: Content }),

  async run({ who, params: { eventId } }, ctx) {
    const event = await eventById(ctx, eventId)
    if (!event) throw notFound('There is no such event here')
    return { event: writeEvent(event, audienceOf(ctx, who.userId)) }
  },
})

async function eventById(ctx: Context, eventId: string) {
  await ctx.positions.settled()
  const room = await listed.roomOfEvent(ctx.sql, eventId)
  return room && loadEvent(ctx.sql, room, eventId)
}
