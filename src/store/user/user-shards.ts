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

/** Notes a batch in its own transaction; it cannot be noted twice. */
export const note = (sql: Sql, batch: string) =>
  sql`insert into user_batches (batch) values (${batch})`

/**
 * Whether a batch was committed. Waits for one that is under way; one that has not begun yet can no
 * longer succeed afterwards.
 */
export async function wasNoted(sql: Sql, batch: string): Promise<boolean> {
  const noted = await sql`
    insert into user_batches (batch) values (${batch}) on conflict do nothing returning batch`
  return noted.length === 0
}

/** Forgets batches whose outcome nobody asks for any more; answers how many. */
export async function dropBatches(sql: Sql, before: number, atOnce: number): Promise<number> {
  const { count } = await sql`
    delete from user_batches where batch in (
      select batch from user_batches
      where noted_at < to_timestamp(${before}::double precision / 1000) limit ${atOnce}
    )`
  return count
}
