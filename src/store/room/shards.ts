import { randomUUID } from 'node:crypto'
import type { Pool, Sql } from '#store/db.ts'
import type { Lease, ShardAdvance } from './batch.ts'

/**
 * The counters of one shard as its owner has them in memory: ahead of the database by what is decided
 * and not yet committed.
 */
export class Shard {
  readonly shard: number
  readonly epoch: number
  position: number
  counter: number
  ingest: number
  /** The batch that the next commit follows. */
  batch: string | null
  readonly #shards: number

  constructor(row: ShardRow, epoch: number, shards: number) {
    this.shard = row.shard
    this.epoch = epoch
    this.position = row.position
    this.counter = row.counter
    this.ingest = row.ingest
    this.batch = row.batch
    this.#shards = shards
  }

  /** A number for an event, room, chain or snapshot; it names its shard. */
  nextNid(): number {
    return ++this.counter * this.#shards + this.shard
  }

  nextPosition(): number {
    return ++this.position
  }

  nextIngest(): number {
    return ++this.ingest
  }

  /** For a batch that holds everything decided up to now. */
  advance(): ShardAdvance {
    const { shard, epoch, position, counter, ingest, batch } = this
    return { shard, epoch, previous: batch, position, counter, ingest }
  }

  /** Takes back what was given out after the last commit, when the outcome is known. */
  reset(row: ShardRow): void {
    this.position = row.position
    this.counter = row.counter
    this.ingest = row.ingest
    this.batch = row.batch
  }
}

export type ShardRow = {
  shard: number
  position: number
  counter: number
  ingest: number
  batch: string | null
}

/** How far every shard is committed. */
export const positions = (sql: Sql) =>
  sql<{ shard: number; position: number }[]>`
    select shard, position from room_shards order by shard`

/**
 * Makes `owner` the only writer of these shards. The leases are updated first: a commit that still
 * runs under the old epoch ends before, one that comes later fails.
 */
export async function takeOver(
  pool: Pool,
  wanted: readonly number[],
  owner: string,
): Promise<Shard[]> {
  const sorted = wanted.toSorted((a, b) => a - b)
  const { leases, rows, shards } = await pool.begin(async (sql) => {
    await sql`
      select shard from room_shard_leases where shard = any(${sorted}::smallint[])
      order by shard for update`
    const leases = await sql<Lease[]>`
      update room_shard_leases set epoch = epoch + 1, owner = ${owner}
      where shard = any(${sorted}::smallint[]) returning shard, epoch`
    const rows = await sql<ShardRow[]>`
      select shard, position, counter, ingest, batch from room_shards
      where shard = any(${sorted}::smallint[]) order by shard for update`
    const [settings] = await sql<{ shards: number }[]>`
      select value::int as shards from settings where name = 'shards'`
    return { leases, rows, shards: settings!.shards }
  })
  const epochs = new Map(leases.map(({ shard, epoch }) => [shard, epoch]))
  return rows.map((row) => new Shard(row, epochs.get(row.shard)!, shards))
}

export type Outcome = { committed: boolean; shards: ShardRow[] }

/**
 * Whether a batch whose answer was lost is committed. Waits for a commit that still runs; one that
 * has not begun yet can no longer succeed afterwards. `shards` are the batch's: pass them all.
 */
export async function outcomeOf(
  pool: Pool,
  shards: readonly number[],
  batchId: string,
): Promise<Outcome> {
  const sorted = shards.toSorted((a, b) => a - b)
  return pool.begin(async (sql) => {
    const rows = await sql<ShardRow[]>`
      select shard, position, counter, ingest, batch from room_shards
      where shard = any(${sorted}::smallint[]) order by shard for update`
    if (rows.every(({ batch }) => batch === batchId)) return { committed: true, shards: [...rows] }
    const batch = randomUUID()
    await sql`
      update room_shards set batch = ${batch}::uuid where shard = any(${sorted}::smallint[])`
    return { committed: false, shards: rows.map((row) => ({ ...row, batch })) }
  })
}
