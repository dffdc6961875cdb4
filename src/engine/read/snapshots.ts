import type { Sql } from '#store/db.ts'

/** The state before events, by snapshot: single keys of many at once. */
export type Snapshots = {
  lookup(
    sql: Sql,
    snapshots: readonly number[],
    keys: readonly number[],
  ): Promise<Map<number, ReadonlyMap<number, number>>>
}
