import { Type as t } from '@sinclair/typebox'
import {
  accessOf,
  audienceOf,
  filterIn,
  limitIn,
  writeEvents,
} from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { missingParam } from '#core/error.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import { writeEvent } from '#engine/read/events.ts'
import { stateHorizon } from '#engine/read/state-at.ts'
import { membersBefore, membersOfHistory } from '#engine/read/state-before.ts'
import { readPage } from '#engine/read/timeline.ts'

export const getRoomEvents = op({
  id: 'getRoomEvents',
  method: 'GET',
  path: '/_matrix/client/v3/rooms/:roomId/messages',
  also: ['/_matrix/client/r0/rooms/:roomId/messages'],
  auth: 'user',
  admits: ['guest'],
  limit: 'lookup',
  params: open({ roomId: RoomId }),
  query: open({
    from: t.Optional(t.String()),
    to: t.Optional(t.String()),
    // Required, but a stranger to the room hears of that first.
    dir: t.Optional(t.Union([t.Literal('b'), t.Literal('f')])),
    limit: t.Optional(t.Integer()),
    filter: t.Optional(t.String()),
  }),
  response: open({
    chunk: t.Array(Content),
    start: t.String(),
    end: t.Optional(t.String()),
    state: t.Optional(t.Array(Content)),
  }),

  async run({ who, params: { roomId }, query }, ctx) {
    const filter = filterIn(query.filter)
    const found = await accessOf(ctx, who, roomId)
    const { access } = await stateHorizon(ctx, found, roomId, who.userId)
    if (query.dir === undefined) throw missingParam("'dir' is missing")
    const { events, seen, start, end } = await readPage(ctx, access, {
      userId: who.userId,
      direction: query.dir,
      from: query.from,
      to: query.to,
      limit: limitIn(query.limit ?? filter.limit, 10, 1000),
      filter,
    })
    const senders = new Set(events.map((each) => each.event.sender))
    const newest = query.dir === 'b' ? events[0] : events.at(-1)
    const [chunk, state] = await Promise.all([
      writeEvents(ctx, who, events, seen),
      newest && filter.lazyLoadMembers ? membersBefore(ctx, newest, senders) : [],
    ])
    const more = await membersOfHistory(
      ctx,
      query.dir === 'b' ? events : events.toReversed(),
      state,
    )
    const told = [...state, ...more]
    const audience = audienceOf(ctx, who)
    return {
      chunk,
      start,
      ...(end !== undefined && { end }),
      ...((filter.lazyLoadMembers || told.length > 0) && {
        state: told.map((each) => writeEvent(each, audience)),
      }),
    }
  },
})
