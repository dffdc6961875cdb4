import { Type as t } from '@sinclair/typebox'
import { audienceOf } from '#api/admin/rooms/audience.ts'
import { Paging, nextOf, pageOf, textOf } from '#api/admin/lists/paging.ts'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import { reportedEvents } from '#engine/read/reported-events.ts'
import { writeEvent } from '#engine/read/events.ts'
import * as reports from '#store/user/reports.ts'
import type { Context } from '#src/context.ts'

// What users have reported, in the form that known tools speak.

const path = '/_synapse/admin/v1'
const params = open({ reportId: t.String() })
const Id = open({ id: t.Integer() })
const Part = t.Optional(t.String())

/** A page of what fits: the newest first unless asked otherwise. */
async function pageFor(
  ctx: Context,
  filter: reports.ReportFilter,
  query: { from?: number; limit?: number; dir?: 'f' | 'b' },
) {
  const page = pageOf(query)
  const [rows, total] = await Promise.all([
    reports.page(ctx.sql, filter, { ...page, oldestFirst: query.dir === 'f' }),
    reports.count(ctx.sql, filter),
  ])
  return { rows, total, ...nextOf(page, rows.length, total) }
}

const idOf = (text: string) => (/^\d{1,15}$/.test(text) ? Number(text) : 0)

async function require(ctx: Context, kind: reports.ReportKind, reportId: string) {
  const found = await reports.one(ctx.sql, kind, idOf(reportId))
  if (!found) throw notFound('There is no such report')
  return found
}

/** Reports of events, with what is known of these and of their rooms. */
async function writeEvents(ctx: Context, rows: readonly reports.ListedReport[]) {
  const known = await reportedEvents(
    ctx,
    rows.map((row) => ({ roomId: row.room_id!, eventId: row.event_id! })),
  )
  return rows.map((row) => {
    const room = known.rooms.get(row.room_id!)
    const event = known.events.get(row.event_id!)
    const written = {
      id: row.id,
      received_ts: row.reported_at,
      room_id: row.room_id,
      event_id: row.event_id,
      user_id: row.reporter,
      reason: row.reason,
      score: null,
      sender: event?.event.sender ?? null,
      name: room?.name ?? null,
      canonical_alias: room?.canonical_alias ?? null,
    }
    return { written, event }
  })
}

export const listEventReports = op({
  id: 'listEventReports',
  method: 'GET',
  path: `${path}/event_reports`,
  auth: 'admin',
  query: open({ ...Paging, user_id: Part, room_id: Part }),
  response: open({ event_reports: t.Array(Id), total: t.Integer() }),

  async run({ query }, ctx) {
    const filter = {
      kind: 'event' as const,
      reporter: textOf(query.user_id),
      roomId: textOf(query.room_id),
    }
    const { rows, ...rest } = await pageFor(ctx, filter, query)
    const written = await writeEvents(ctx, rows)
    return { event_reports: written.map((each) => each.written), ...rest }
  },
})

export const getEventReport = op({
  id: 'getEventReport',
  method: 'GET',
  path: `${path}/event_reports/:reportId`,
  auth: 'admin',
  params,
  response: open({ id: t.Integer(), event_json: t.Optional(Content) }),

  async run({ who, params: { reportId } }, ctx) {
    const [found] = await writeEvents(ctx, [await require(ctx, 'event', reportId)])
    const { written, event } = found!
    return {
      ...written,
      ...(event && { event_json: writeEvent(event, audienceOf(ctx, who.userId)) }),
    }
  },
})

export const deleteEventReport = op({
  id: 'deleteEventReport',
  method: 'DELETE',
  path: `${path}/event_reports/:reportId`,
  auth: 'admin',
  params,

  async run({ params: { reportId } }, ctx) {
    if (!(await reports.remove(ctx.sql, 'event', idOf(reportId))))
      throw notFound('There is no such report')
    return {}
  },
})

const writeUser = (row: reports.ListedReport) => ({
  id: row.id,
  received_ts: row.reported_at,
  user_id: row.reporter,
  target_user_id: row.user_id,
  reason: row.reason,
})

export const listUserReports = op({
  id: 'listUserReports',
  method: 'GET',
  path: `${path}/user_reports`,
  auth: 'admin',
  query: open({ ...Paging, user_id: Part, target_user_id: Part }),
  response: open({ user_reports: t.Array(Id), total: t.Integer() }),

  async run({ query }, ctx) {
    const filter = {
      kind: 'user' as const,
      reporter: textOf(query.user_id),
      userId: textOf(query.target_user_id),
    }
    const { rows, ...rest } = await pageFor(ctx, filter, query)
    return { user_reports: rows.map(writeUser), ...rest }
  },
})

export const getUserReport = op({
  id: 'getUserReport',
  method: 'GET',
  path: `${path}/user_reports/:reportId`,
  auth: 'admin',
  params,
  response: Id,
  run: async ({ params: { reportId } }, ctx) => writeUser(await require(ctx, 'user', reportId)),
})

export const deleteUserReport = op({
  id: 'deleteUserReport',
  method: 'DELETE',
  path: `${path}/user_reports/:reportId`,
  auth: 'admin',
  params,

  async run({ params: { reportId } }, ctx) {
    if (!(await reports.remove(ctx.sql, 'user', idOf(reportId))))
      throw notFound('There is no such report')
    return {}
  },
})
