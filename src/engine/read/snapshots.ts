import { LRUCache } from 'lru-cache'
import { shardOfNid } from '#core/shard.ts'
import { StateFacts } from './state-facts.ts'
import type { Sql } from '#store/db.ts'
import { type Pairs, unpack } from '#store/room/packed-state.ts'
import * as readSnapshots from '#store/room/read-snapshots.ts'

/** The state before events, by snapshot: state keys and events by number. */
export type Snapshots = {
  /** Single keys of many states; what is not set is not there. */
  lookup(
    sql: Sql,
    snapshots: readonly number[],
    keys: readonly number[],
  ): Promise<ReadonlyMap<number, ReadonlyMap<number, number>>>
  /** What is remembered of what does not change. */
  readonly facts?: StateFacts
  /** Every event of one. */
  whole(sql: Sql, snapshot: number): Promise<readonly number[]>
}

/** A snapshot's own row: its difference to its base, or a whole state. What both make never changes. */
type Layer = { readonly base: number | undefined; readonly pairs: Pairs }

const defaultBytes = 64 * 1024 * 1024

/**
 * Reads single keys without building states: from a snapshot's row down to the whole state it builds
 * on, the first row that has a key says what it is. Rows are kept in memory, bounded in bytes; those
 * of one room's states are mostly the same.
 */
export class StoredSnapshots implements Snapshots {
  readonly facts = new StateFacts()
  readonly #layers: LRUCache<number, Layer>

  constructor(maxBytes = defaultBytes) {
    this.#layers = new LRUCache({
      maxSize: maxBytes,
      sizeCalculation: ({ pairs }) => 300 + 16 * pairs.keys.length,
    })
  }

  async lookup(
    sql: Sql,
    snapshots: readonly number[],
    keys: readonly number[],
  ): Promise<ReadonlyMap<number, ReadonlyMap<number, number>>> {
    const layers = await this.#load(sql, snapshots)
    return new Map(
      snapshots.map((snapshot) => {
        const found = new Map<number, number>()
        for (const key of keys) {
          const event = eventOf(layers, snapshot, key)
          if (event !== undefined) found.set(key, event)
        }
        return [snapshot, found] as const
      }),
    )
  }

  async whole(sql: Sql, snapshot: number): Promise<readonly number[]> {
    const layers = await this.#load(sql, [snapshot])
    const state = new Map<number, number>()
    for (const { keys, events } of chainOf(layers, snapshot))
      for (let at = 0; at < keys.length; at++)
        if (!state.has(keys[at]!)) state.set(keys[at]!, events[at]!)
    return [...state.values()].filter((event) => event !== 0)
  }

  /** Every layer that these snapshots are made of, in two statements, nearly always. */
  async #load(sql: Sql, snapshots: readonly number[]): Promise<ReadonlyMap<number, Layer>> {
    for (let tries = 0; ; tries++) {
      // Held here: what is pushed out of memory meanwhile is still needed.
      const held = new Map<number, Layer>()
      const missing = snapshots.filter((nid) => !this.#hold(nid, held))
      if (missing.length === 0) return held
      await this.#read(sql, missing, held)
      // A purge may come in between, and give a snapshot another base.
      if (snapshots.every((nid) => this.#hold(nid, held))) return held
      if (tries === maxTries) throw new Error(`Snapshots ${missing.join(', ')} are not there`)
    }
  }

  async #read(sql: Sql, missing: readonly number[], held: Map<number, Layer>): Promise<void> {
    const rows = await readSnapshots.layers(sql, missing.map(shardOfNid), missing)
    const unread: number[] = []
    for (const { snapshot_nid: nid, base_nid: base } of rows) {
      const known = held.get(nid) ?? this.#layers.get(nid)
      if (known && known.base === (base ?? undefined)) held.set(nid, known)
      else unread.push(nid)
    }
    if (unread.length === 0) return
    for (const row of await readSnapshots.packed(sql, unread.map(shardOfNid), unread)) {
      const layer = { base: row.base_nid ?? undefined, pairs: unpack(row.packed) }
      held.set(row.snapshot_nid, layer)
      this.#layers.set(row.snapshot_nid, layer)
    }
  }

  /** Takes what is in memory of a snapshot; false if that is not all of it. */
  #hold(snapshot: number, held: Map<number, Layer>): boolean {
    for (let nid: number | undefined = snapshot; nid !== undefined;) {
      const layer: Layer | undefined = held.get(nid) ?? this.#layers.get(nid)
      if (!layer) return false
      held.set(nid, layer)
      nid = layer.base
    }
    return true
  }
}

const maxTries = 3

/** From the newest difference to the whole state. */
function* chainOf(layers: ReadonlyMap<number, Layer>, snapshot: number): Generator<Pairs> {
  for (let nid: number | undefined = snapshot; nid !== undefined;) {
    const layer: Layer | undefined = layers.get(nid)
    if (!layer) throw new Error(`Snapshot ${nid} is not there`)
    yield layer.pairs
    nid = layer.base
  }
}

function eventOf(
  layers: ReadonlyMap<number, Layer>,
  snapshot: number,
  key: number,
): number | undefined {
  for (const { keys, events } of chainOf(layers, snapshot)) {
    const at = search(keys, key)
    // 0: the key went away.
    if (keys[at] === key) return events[at] || undefined
  }
  return undefined
}

function search(keys: Float64Array, key: number): number {
  let low = 0
  let high = keys.length
  while (low < high) {
    const middle = (low + high) >>> 1
    if (keys[middle]! < key) low = middle + 1
    else high = middle
  }
  return low
}
