import type { Sql } from '#store/db.ts'

/** The state before events, by snapshot: state keys and events by number. */
export type Snapshots = {
  /** Single keys of many at once; what is not set is not there. */
  lookup(
    sql: Sql,
    snapshots: readonly number[],
    keys: readonly number[],
  ): Promise<ReadonlyMap<number, ReadonlyMap<number, number>>>
  /** Every event of one. */
  whole(sql: Sql, snapshot: number): Promise<readonly number[]>
}
