import { Type as t } from '@sinclair/typebox'
import { accessOf } from '#api/client-server/room/reading.ts'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { domainOf } from '#core/ids.ts'
import { EventId, RoomId, UserId, open } from '#core/schema.ts'
import { loadEvent } from '#engine/read/events.ts'
import { findRoom } from '#engine/read/room.ts'
import * as reports from '#store/user/reports.ts'
import * as users from '#store/user/users.ts'

/** Not spec: what a report may say, in characters. */
const maxReason = 10_000
const reason = t.String({ maxLength: maxReason })

/** The database takes no NUL. */
function said(text: string): string {
  if (text.includes('\0')) throw invalidParam("'reason' holds a NUL")
  return text
}

export const reportRoom = op({
  id: 'reportRoom',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/report',
  also: ['/_matrix/client/unstable/org.matrix.msc4151/rooms/:roomId/report'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: open({ roomId: RoomId }),
  body: open({ reason }),

  async run({ who: { userId }, params: { roomId }, body }, ctx) {
    if (!(await findRoom(ctx.sql, roomId))) throw notFound(`There is no room ${roomId} here`)
    const report = { reporter: userId, roomId, reason: said(body.reason) }
    await reports.add(ctx.sql, report, ctx.clock())
    return {}
  },
})

export const reportEvent = op({
  id: 'reportEvent',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/report/:eventId',
  also: ['/_matrix/client/r0/rooms/:roomId/report/:eventId'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: open({ roomId: RoomId, eventId: EventId }),
  // Clients of before v1.18 send a score, which tells nothing.
  body: open({ reason: t.Optional(reason) }),

  async run({ who, params: { roomId, eventId }, body }, ctx) {
    const unknown = () => notFound('There is no such event, or you are not in its room')
    const access = await accessOf(ctx, who, roomId)
    if (access?.standing?.membership !== 'join') throw unknown()
    if (!(await loadEvent(ctx.sql, access.room, eventId))) throw unknown()
    const report = { reporter: who.userId, roomId, eventId, reason: said(body.reason ?? '') }
    await reports.add(ctx.sql, report, ctx.clock())
    return {}
  },
})

export const reportUser = op({
  id: 'reportUser',
  method: 'POST',
  path: '/_matrix/client/v3/users/:userId/report',
  also: ['/_matrix/client/unstable/org.matrix.msc4260/users/:userId/report'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  params: open({ userId: UserId }),
  body: open({ reason }),

  async run({ who, params: { userId }, body }, ctx) {
    const isOurs = domainOf(userId) === ctx.serverName
    if (isOurs && !(await users.get(ctx.sql, userId))) throw notFound(`There is no user ${userId}`)
    const report = { reporter: who.userId, userId, reason: said(body.reason) }
    await reports.add(ctx.sql, report, ctx.clock())
    return {}
  },
})
