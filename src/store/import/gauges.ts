import type { Sql } from '#store/db.ts'

export type ImportGauge = {
  state: string
  sessions: number
  accepted: number
  duplicates: number
  failed: number
}

/** How many sessions are in which state, and what became of the records that they were brought. */
export const gauges = (sql: Sql) =>
  sql<ImportGauge[]>`
    select state, count(*) as sessions, sum(accepted)::bigint as accepted,
      sum(duplicates)::bigint as duplicates, sum(failed)::bigint as failed
    from import_sessions group by state`
