import type { Sql } from '#store/db.ts'

export type Report = {
  reporter: string
  roomId?: string
  eventId?: string
  userId?: string
  reason: string
}

export async function add(sql: Sql, report: Report, reportedAt: number): Promise<void> {
  const { reporter, roomId = null, eventId = null, userId = null, reason } = report
  await sql`
    insert into reports (reported_at, reporter, room_id, event_id, user_id, reason)
    values (${reportedAt}, ${reporter}, ${roomId}, ${eventId}, ${userId}, ${reason})`
}

/** What kind of thing was reported: an event, or a user. */
export type ReportKind = 'event' | 'user'

export type ListedReport = {
  id: number
  reported_at: number
  reporter: string
  room_id: string | null
  event_id: string | null
  user_id: string | null
  reason: string
}

export type ReportFilter = {
  kind: ReportKind
  /** Part of the ID of the one who reports. */
  reporter?: string | undefined
  roomId?: string | undefined
  /** Part of the ID of the one who is reported. */
  userId?: string | undefined
}

const within = (text: string) => `%${text.replace(/[\\%_]/g, '\\$&')}%`

const fitting = (sql: Sql, { kind, reporter, roomId, userId }: ReportFilter) => sql`
  ${kind === 'event' ? sql`event_id is not null` : sql`user_id is not null and event_id is null`}
  ${reporter === undefined ? sql`` : sql`and reporter ilike ${within(reporter)}`}
  ${roomId === undefined ? sql`` : sql`and room_id ilike ${within(roomId)}`}
  ${userId === undefined ? sql`` : sql`and user_id ilike ${within(userId)}`}`

const columns = (sql: Sql) =>
  sql`report_id as id, reported_at, reporter, room_id, event_id, user_id, reason`

export const page = (
  sql: Sql,
  filter: ReportFilter,
  { from, limit, oldestFirst }: { from: number; limit: number; oldestFirst: boolean },
) =>
  sql<ListedReport[]>`
    select ${columns(sql)} from reports where ${fitting(sql, filter)}
    order by report_id ${oldestFirst ? sql`asc` : sql`desc`} limit ${limit} offset ${from}`

export async function count(sql: Sql, filter: ReportFilter): Promise<number> {
  const [row] = await sql<{ total: number }[]>`
    select count(*)::int as total from reports where ${fitting(sql, filter)}`
  return row!.total
}

export async function one(
  sql: Sql,
  kind: ReportKind,
  id: number,
): Promise<ListedReport | undefined> {
  const [row] = await sql<ListedReport[]>`
    select ${columns(sql)} from reports where report_id = ${id} and ${fitting(sql, { kind })}`
  return row
}

export async function remove(sql: Sql, kind: ReportKind, id: number): Promise<boolean> {
  const { count: gone } = await sql`
    delete from reports where report_id = ${id} and ${fitting(sql, { kind })}`
  return gone > 0
}
