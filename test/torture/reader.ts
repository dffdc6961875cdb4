import type { Pool } from '#store/db.ts'

type Row = { shard: number; position: number; id: string }

/** A vector of the shards' positions. */
export type Vector = Map<number, number>

/** What the shards are committed up to. */
export async function committedVector(sql: Pool): Promise<Vector> {
  const rows = await sql<{ shard: number; position: number }[]>`
    select shard, position from room_shards where position > 0`
  return new Map(rows.map(({ shard, position }) => [shard, position]))
}

/** Everything that readers find by its position. */
export const rowsByPosition = (sql: Pool) =>
  sql<Row[]>`
    select shard, position, 'event ' || event_nid as id from events where position is not null
    union all
    select shard, position, 'delta ' || room_nid || ' ' || position || ' ' || state_key_nid
    from state_deltas
    union all
    select shard, position, 'member ' || room_nid || ' ' || user_nid || ' ' || position
    from memberships where position > 0`

/**
 * Reads on as /sync does: fixes a vector first, takes what lies between the last one and this one, and
 * never looks back. A row that came to be at or below a position that it had passed it never meets.
 */
export class Reader {
  readonly met = new Map<string, number>()
  readonly #sql: Pool
  readonly #vector: () => Promise<Vector>
  readonly #passed: Vector = new Map()
  #running = true

  constructor(sql: Pool, vector: () => Promise<Vector>) {
    this.#sql = sql
    this.#vector = vector
  }

  /** Reads until it is stopped, and once more. */
  async run(): Promise<void> {
    for (let last = false; ; last = !this.#running) {
      await this.#look()
      if (last) return
      await Bun.sleep(5 * Math.random())
    }
  }

  stop(): void {
    this.#running = false
  }

  async #look(): Promise<void> {
    const vector = await this.#vector()
    for (const { shard, position, id } of await rowsByPosition(this.#sql)) {
      const after = this.#passed.get(shard) ?? 0
      if (position <= after || position > (vector.get(shard) ?? 0)) continue
      this.met.set(id, (this.met.get(id) ?? 0) + 1)
    }
    for (const [shard, position] of vector)
      this.#passed.set(shard, Math.max(position, this.#passed.get(shard) ?? 0))
  }
}
