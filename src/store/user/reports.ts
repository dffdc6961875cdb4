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
