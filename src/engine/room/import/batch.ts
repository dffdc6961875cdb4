import { conflict } from '#core/error.ts'
import type { Sql } from '#store/db.ts'
import * as sessions from '#store/import/sessions.ts'
import type { Staging } from '#engine/room/import/staging.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { ImportBatch } from '#engine/worker/import-steps.ts'
import { greatest, Intake, least } from '#engine/room/import/intake.ts'

/** Takes a batch into a session, all of it, or goes on where it was broken off; its answer, as JSON. */
export async function takeBatch(
  lane: Lane,
  staging: Staging,
  input: ImportBatch,
  isStopping: () => boolean,
): Promise<string> {
  const { sql } = lane.parts
  const { row } = staging
  const { batch } = input
  await takePeople(lane, staging, input)
  const { isAdmin } = input
  const records = input.records.split('\n').slice(0, -1)
  const intake = new Intake(lane, staging, { batch, records, namedOnly: !isAdmin }, isStopping)
  await intake.run()
  const { accepted, duplicates, firstTs, lastTs, failed: all } = intake.tally
  const answer = JSON.stringify({
    next_batch: batch + 1,
    accepted,
    duplicates,
    waiting: staging.waiting.size,
    failed: all,
  })
  const counts = { accepted, duplicates, failed: all.length, firstTs, lastTs }
  await sessions.finishBatch(sql, row, batch, answer, counts)
  row.next_batch++
  row.accepted += accepted
  row.duplicates += duplicates
  row.failed += all.length
  row.first_ts = least(row.first_ts, firstTs)
  row.last_ts = greatest(row.last_ts, lastTs)
  return answer
}

/** What a batch was answered before; undefined for the one that is to come next. */
export async function answeredBatch(
  sql: Sql,
  row: sessions.SessionRow,
  batch: number,
): Promise<string | undefined> {
  if (batch < row.next_batch) return sessions.answerOf(sql, row, batch)
  requireOpen(row)
  if (batch > row.next_batch)
    throw conflict(`The next batch is ${row.next_batch}`, { next_batch: row.next_batch })
  return undefined
}

export function requireOpen({ state }: sessions.SessionRow): void {
  if (state !== 'open') throw conflict(`The import is ${state}: it takes no more records`)
}

async function takePeople(lane: Lane, staging: Staging, { people }: ImportBatch): Promise<void> {
  const rows = people
    .filter(({ userId }) => !staging.people.has(userId))
    .map((person) => ({
      user_id: person.userId,
      displayname: person.displayname,
      avatar_url: person.avatarUrl,
      stays: person.stays,
    }))
  if (rows.length === 0) return
  await sessions.addPeople(lane.parts.sql, staging.row, rows)
  for (const person of rows) staging.people.set(person.user_id, person)
}
