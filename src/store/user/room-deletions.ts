import type { Pool, Sql } from '#store/db.ts'

export type DeletionStatus = 'scheduled' | 'active' | 'complete' | 'failed'

export type Deletion = {
  delete_id: string
  room_id: string
  requested_by: string
  requested_at: number
  status: DeletionStatus
  /** JSON. */
  options: string
  outcome: string
  ended_at: number | null
}

/** Asks for a room to be deleted; false if that is under way already. */
export async function add(
  sql: Pool,
  deletion: Pick<Deletion, 'delete_id' | 'room_id' | 'requested_by' | 'requested_at' | 'options'>,
): Promise<boolean> {
  return sql.begin(async (tx) => {
    await tx`select pg_advisory_xact_lock(${deletionLock}, hashtext(${deletion.room_id}))`
    const { count } = await tx`
      insert into room_deletions (
        delete_id, room_id, requested_by, requested_at, status, options, outcome)
      select ${deletion.delete_id}, ${deletion.room_id}, ${deletion.requested_by},
        ${deletion.requested_at}::bigint, 'scheduled', ${deletion.options}, '{}'
      where not exists (
        select from room_deletions where room_id = ${deletion.room_id} and ended_at is null)`
    return count > 0
  })
}

/** Any number will do that nothing else in the database locks. */
const deletionLock = 0x4d46

/** Deletions that have not ended, the oldest first. */
export const underWay = (sql: Sql) =>
  sql<Deletion[]>`
    select * from room_deletions where ended_at is null order by requested_at, delete_id`

export async function note(
  sql: Sql,
  deleteId: string,
  change: Pick<Deletion, 'status' | 'outcome' | 'ended_at'>,
): Promise<void> {
  await sql`
    update room_deletions set status = ${change.status}, outcome = ${change.outcome},
      ended_at = ${change.ended_at}
    where delete_id = ${deleteId}`
}

export async function get(sql: Sql, deleteId: string): Promise<Deletion | undefined> {
  const [row] = await sql<Deletion[]>`
    select * from room_deletions where delete_id = ${deleteId}`
  return row
}

/** The deletions of a room, or of all rooms, the newest first. */
export const list = (sql: Sql, roomId?: string) =>
  sql<Deletion[]>`
    select * from room_deletions
    where ${roomId === undefined ? sql`true` : sql`room_id = ${roomId}`}
    order by requested_at desc, delete_id limit 1000`

/** Forgets deletions that ended long ago. */
export async function forget(sql: Sql, before: number): Promise<void> {
  await sql`delete from room_deletions where ended_at < ${before}`
}
