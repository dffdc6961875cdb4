import { Type as t } from '@sinclair/typebox'
import { accessOf, audienceOf, writeEvents } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { covers } from '#core/appservice.ts'
import { displayNameOf, avatarUrlOf } from '#core/content/m.room.member.ts'
import { forbidden, notFound } from '#core/error.ts'
import { Content, EventId, open, record, RoomId } from '#core/schema.ts'
import { readEvent } from '#engine/read/event.ts'
import { writeEvent } from '#engine/read/events.ts'
import {
  type JoinedMember,
  positionAt,
  readJoined,
  readMemberEvents,
} from '#engine/read/members.ts'
import { notInRoom } from '#engine/read/room.ts'
import { readKey, readWhole, stateHorizon } from '#engine/read/state-at.ts'

const Membership = t.Union(
  ['join', 'invite', 'knock', 'leave', 'ban'].map((membership) => t.Literal(membership)),
)

export const getOneRoomEvent = op({
  id: 'getOneRoomEvent',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/event/:eventId',
  also: ['/_matrix/client/r0/rooms/:roomId/event/:eventId'],
  auth: 'user',
  admits: ['guest'],
  params: open({ roomId: RoomId, eventId: EventId }),
  response: Content,

  async run({ who, params: { roomId, eventId } }, ctx) {
    const access = await accessOf(ctx, who, roomId)
    const { event, seen } = await readEvent(ctx, access, who.userId, eventId)
    const [json] = await writeEvents(ctx, who, [event], new Map([[event.nid, seen]]))
    return json!
  },
})

export const getRoomStateWithKey = op({
  id: 'getRoomStateWithKey',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/state/:eventType/:stateKey',
  also: [
    '/_matrix/client/r0/rooms/:roomId/state/:eventType/:stateKey',
    // Clients leave out an empty state key, with its slash or without.
    '/_matrix/client/v3/rooms/:roomId/state/:eventType',
    '/_matrix/client/r0/rooms/:roomId/state/:eventType',
  ],
  auth: 'user',
  admits: ['guest'],
  params: open({ roomId: RoomId, eventType: t.String(), stateKey: t.Optional(t.String()) }),
  query: open({ format: t.Optional(t.Union([t.Literal('content'), t.Literal('event')])) }),
  response: Content,

  async run({ who, params, query }, ctx) {
    const { roomId, eventType, stateKey = '' } = params
    const found = await accessOf(ctx, who, roomId)
    const { access, at } = await stateHorizon(ctx, found, roomId, who.userId)
    const event = await readKey(ctx.sql, access, at, eventType, stateKey)
    if (!event) throw notFound('The room has no such state')
    return query.format === 'event' ? writeEvent(event, audienceOf(ctx, who)) : event.event.content
  },
})

export const getRoomState = op({
  id: 'getRoomState',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/state',
  also: ['/_matrix/client/r0/rooms/:roomId/state'],
  auth: 'user',
  admits: ['guest'],
  params: open({ roomId: RoomId }),
  response: t.Array(Content),

  async run({ who, params: { roomId } }, ctx) {
    const found = await accessOf(ctx, who, roomId)
    const { access, at } = await stateHorizon(ctx, found, roomId, who.userId)
    const audience = audienceOf(ctx, who)
    const events = await readWhole(ctx.sql, access, at)
    return events.map((event) => writeEvent(event, audience))
  },
})

export const getMembersByRoom = op({
  id: 'getMembersByRoom',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/members',
  also: ['/_matrix/client/r0/rooms/:roomId/members'],
  auth: 'user',
  admits: ['guest'],
  params: open({ roomId: RoomId }),
  query: open({
    at: t.Optional(t.String()),
    membership: t.Optional(Membership),
    not_membership: t.Optional(Membership),
  }),
  response: open({ chunk: t.Array(Content) }),

  async run({ who, params: { roomId }, query }, ctx) {
    const found = await accessOf(ctx, who, roomId)
    const { access, at: horizon } = await stateHorizon(ctx, found, roomId, who.userId)
    const at =
      query.at === undefined ? horizon : Math.min(await positionAt(ctx, access, query.at), horizon)
    const events = await readMemberEvents(ctx.sql, access, at, {
      membership: query.membership,
      notMembership: query.not_membership,
    })
    const audience = audienceOf(ctx, who)
    return { chunk: events.map((event) => writeEvent(event, audience)) }
  },
})

export const getJoinedMembersByRoom = op({
  id: 'getJoinedMembersByRoom',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/joined_members',
  also: ['/_matrix/client/r0/rooms/:roomId/joined_members'],
  auth: 'user',
  params: open({ roomId: RoomId }),
  response: open({ joined: record(Content) }),

  async run({ who, params: { roomId } }, ctx) {
    const access = await accessOf(ctx, who, roomId)
    if (!access) throw notInRoom(who.userId, roomId)
    const { appservice } = who
    const isJoined = access.standing?.membership === 'join'
    const members = isJoined || appservice ? await readJoined(ctx.sql, access) : []
    // An application service is joined with any of its users.
    const isOurs = ({ userId }: JoinedMember) => appservice && covers(appservice, 'users', userId)
    if (!isJoined && !members.some(isOurs)) throw forbidden('Only those who are joined see who is')
    // No prototype: user IDs are names from outside.
    const joined = Object.create(null) as Record<string, Content>
    for (const { userId, event } of members) {
      const name = displayNameOf(event.event.content)
      const avatar = avatarUrlOf(event.event.content)
      joined[userId] = {
        ...(name !== undefined && { display_name: name }),
        ...(avatar !== undefined && { avatar_url: avatar }),
      }
    }
    return { joined }
  },
})
