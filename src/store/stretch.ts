import type { Sql } from '#store/db.ts'

/**
 * The rows of a table in a stretch `s (shard, low, high)`, to be joined laterally. That more than any
 * stretch has is asked for in order makes them be found by an index: planned as a join, where few shards
 * hold it, all of the table would be read for a handful of rows, and more as it grows.
 */
export const inStretch = (sql: Sql, table: string) => sql`
  (
    select * from ${sql(table)}
    where shard = s.shard and position > s.low and position <= s.high
    order by position
    limit 1000000
  )`
