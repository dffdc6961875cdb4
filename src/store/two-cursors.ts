import type { Sql } from '#store/db.ts'

// How far somebody follows the shards of rooms and users: a row a shard, moved together with what is written.

/** The tables of cursors, each its follower's own. */
export type CursorTable = 'appservice_cursors' | 'push_cursors'

/** Up to here a shard of rooms is followed, and the shard of users with its number. */
export type Cursor = { shard: number; rooms: number; users: number }

/** After `from`, up to and including `to`. */
export type Stretch = { shard: number; from: number; to: number }

/** Another follower has moved a cursor. */
export class CursorMoved extends Error {}

/** Where somebody is. */
export const read = (sql: Sql, table: CursorTable) =>
  sql<Cursor[]>`select shard, rooms, users from ${sql(table)}`

/** Some stretches as `s (shard, low, high)`. */
export const stretchesOf = (sql: Sql, stretches: readonly Stretch[]) => sql`
  unnest(
    ${stretches.map((each) => each.shard)}::smallint[],
    ${stretches.map((each) => each.from)}::bigint[],
    ${stretches.map((each) => each.to)}::bigint[]
  ) s (shard, low, high)`

/** Moves cursors from the beginnings to the ends of stretches; fails with `CursorMoved` if one is not there. */
export async function move(
  sql: Sql,
  table: CursorTable,
  of: 'rooms' | 'users',
  stretches: readonly Stretch[],
): Promise<void> {
  const moved = await sql`
    update ${sql(table)} c set ${sql(of)} = s.high
    from ${stretchesOf(sql, stretches)}
    where c.shard = s.shard and c.${sql(of)} = s.low`
  if (moved.count !== stretches.length) throw new CursorMoved('Another has followed these shards')
}
