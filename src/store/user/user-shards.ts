import type { Sql } from '#store/db.ts'

/**
 * Locks the rows of these shards, in order, to the end of the transaction, and answers where they
 * stand: nobody else gives out positions of them until then.
 */
export const lock = (sql: Sql, shards: readonly number[]) =>
  sql<{ shard: number; position: number; batch: string | null }[]>`
    select shard, position, batch from user_shards
    where shard = any(${shards as number[]}::smallint[])
    order by shard
    for update`

/** Moves shards that are locked to new positions, stamped with the batch that did it. */
export const advance = (
  sql: Sql,
  rows: readonly { shard: number; position: number }[],
  batch: string,
) =>
  sql`
    update user_shards s set position = t.position, batch = ${batch}
    from unnest(
      ${rows.map((row) => row.shard)}::smallint[],
      ${rows.map((row) => row.position)}::bigint[]
    ) as t (shard, position)
    where s.shard = t.shard`
