import type { Sql } from '#store/db.ts'

/**
 * Whether an event is of an import that nobody may see: not published yet, or undone. The expression names a
 * table of the statement that has `shard` and `chain`. What is read by position, span or state needs it
 * not: such events have no position, no open span, and are in no state but for memberships.
 */
export const isUnseen = (sql: Sql, e: ReturnType<Sql>) => sql`
  exists (
    select from import_chains c
    where c.shard = ${e}.shard and c.chain = ${e}.chain
      and (c.published_at is null or c.hidden_at is not null))`
