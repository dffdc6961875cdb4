import { Type as t } from '@sinclair/typebox'
import {
  accessOf,
  audienceOf,
  filterIn,
  limitIn,
  writeEvents,
} from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { Content, EventId, RoomId, open } from '#core/schema.ts'
import { readContext } from '#engine/read/context.ts'
import { writeEvent } from '#engine/read/events.ts'
import { membersOfHistory, stateBefore } from '#engine/read/state-before.ts'

export const getEventContext = op({
  id: 'getEventContext',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/context/:eventId',
  also: ['/_matrix/client/r0/rooms/:roomId/context/:eventId'],
  auth: 'user',
  admits: ['guest'],
  limit: 'lookup',
  params: open({ roomId: RoomId, eventId: EventId }),
  query: open({ limit: t.Optional(t.Integer()), filter: t.Optional(t.String()) }),
  response: open({
    event: t.Optional(Content),
    events_before: t.Optional(t.Array(Content)),
    events_after: t.Optional(t.Array(Content)),
    state: t.Optional(t.Array(Content)),
    start: t.Optional(t.String()),
    end: t.Optional(t.String()),
  }),

  async run({ who, params: { roomId, eventId }, query }, ctx) {
    const filter = filterIn(query.filter)
    const access = await accessOf(ctx, who, roomId)
    const limit = limitIn(query.limit, 10, 100)
    const found = await readContext(ctx, access, who.userId, eventId, limit, filter)
    const { event, before, after, seen, start, end } = found
    const all = [event, ...before, ...after]
    const senders = new Set(all.map((each) => each.event.sender))
    const [written, state] = await Promise.all([
      writeEvents(ctx, who, all, seen),
      stateBefore(ctx, after.at(-1) ?? event, filter.lazyLoadMembers ? senders : undefined),
    ])
    const members = state.filter(({ event: each }) => each.type === 'm.room.member')
    const more = await membersOfHistory(ctx, [event, ...after, ...before], members)
    const audience = audienceOf(ctx, who)
    return {
      event: written[0]!,
      events_before: written.slice(1, 1 + before.length),
      events_after: written.slice(1 + before.length),
      state: [...state, ...more].map((each) => writeEvent(each, audience)),
      ...(start !== '' && { start }),
      ...(end !== '' && { end }),
    }
  },
})
