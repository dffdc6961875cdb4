import type { Steps } from '#core/state-res/steps.ts'
import type { Sql } from '#store/db.ts'
import type { NewSnapshot } from './batch.ts'
import { pack, packing, type Pairs, unpack } from './packed-state.ts'
import type { SnapshotCache } from './snapshot-cache.ts'
import { hashBytes, hashFromBytes } from './state-hash.ts'
import { StateMap } from './state-map.ts'

/**
 * Stored states. A snapshot is written as its difference to an older one: the one at height
 * h & (h − 1), h with its lowest bit cleared, so that a state at height h is read with as many rows as
 * h has bits, and a change is written again about log₂(n)/2 times instead of n times. Where a
 * difference would be half as long as the state, the whole state is written, at height 0.
 */
export type Snapshot = {
  readonly nid: number
  readonly roomNid: number
  readonly state: StateMap
  readonly height: number
  /** What it is made of, newest first: its own difference, its base's, down to the whole state's row. */
  readonly layers: readonly Layer[]
}

export type Layer = {
  readonly nid: number
  readonly height: number
  /** The difference to the next layer; undefined for a whole state. */
  readonly changes: Pairs | undefined
}

/** A snapshot, and the row to commit if it is new. */
export type Made = { snapshot: Snapshot; row: NewSnapshot }

/** The snapshot of a state that no older one leads to. */
export const makeWhole = (nid: number, roomNid: number, state: StateMap): Made =>
  whole(nid, roomNid, state, pack(state.packed()))

/** The same of a large state, some of it at a time. */
export function* makingWhole(nid: number, roomNid: number, state: StateMap): Steps<Made> {
  return whole(nid, roomNid, state, yield* packing(state.packed()))
}

function whole(nid: number, roomNid: number, state: StateMap, packed: Uint8Array): Made {
  const layer = { nid, height: 0, changes: undefined }
  return {
    snapshot: { nid, roomNid, state, height: 0, layers: [layer] },
    row: {
      snapshotNid: nid,
      baseNid: null,
      height: 0,
      entries: state.size,
      hash: hashBytes(state.hash),
      packed,
    },
  }
}

/**
 * The snapshot of a state that differs in `changes` (sorted or not) from an older snapshot. `state` must
 * be `older.state` with those changes: the caller has it already.
 */
export function make(
  nid: number,
  older: Snapshot,
  changes: ReadonlyMap<number, number | undefined>,
  state: StateMap,
): Made {
  const { roomNid } = older
  const height = older.height + 1
  const target = height & (height - 1)
  const at = older.layers.findIndex((layer) => layer.height <= target)
  const above = older.layers.slice(0, at)
  const below = older.layers.slice(at)
  let length = changes.size
  for (const layer of above) length += layer.changes!.keys.length
  if (2 * length >= state.size) return makeWhole(nid, roomNid, state)

  const pairs = squash(changes, above)
  const layer = { nid, height, changes: pairs }
  return {
    snapshot: { nid, roomNid, state, height, layers: [layer, ...below] },
    row: {
      snapshotNid: nid,
      baseNid: below[0]!.nid,
      height,
      entries: state.size,
      hash: hashBytes(state.hash),
      packed: pack(pairs),
    },
  }
}

/** One difference out of several, newest first: the newest entry of a key counts. */
function squash(changes: ReadonlyMap<number, number | undefined>, layers: readonly Layer[]): Pairs {
  const merged = new Map<number, number>()
  for (const { changes: pairs } of layers.toReversed())
    for (let at = 0; at < pairs!.keys.length; at++) merged.set(pairs!.keys[at]!, pairs!.events[at]!)
  for (const [key, event] of changes) merged.set(key, event ?? 0)
  const keys = Float64Array.from(merged.keys()).sort()
  return { keys, events: keys.map((key) => merged.get(key)!) }
}

type Row = {
  snapshot_nid: number
  base_nid: number | null
  height: number
  hash: Uint8Array
  packed: Uint8Array
}

/** Reads snapshots of a room, all in one statement, on top of those in the cache; adds them to it. */
export async function load(
  sql: Sql,
  shard: number,
  roomNid: number,
  nids: readonly number[],
  cache: SnapshotCache,
): Promise<Map<number, Snapshot>> {
  const found = new Map<number, Snapshot>()
  const missing: number[] = []
  for (const nid of new Set(nids)) {
    const known = cache.get(nid)
    if (known) found.set(nid, known)
    else missing.push(nid)
  }
  if (missing.length === 0) return found
  // Kept here: the cache may drop them while the statement runs.
  const built = cache.ofRoom(roomNid)
  const rows = await sql<Row[]>`
    with recursive layer as (
      select snapshot_nid, base_nid, height, hash, packed from snapshots
      where shard = ${shard} and snapshot_nid = any(${missing}::bigint[])
      union
      select s.snapshot_nid, s.base_nid, s.height, s.hash, s.packed
      from layer l join snapshots s on s.shard = ${shard} and s.snapshot_nid = l.base_nid
      where l.base_nid <> all(${[...built.keys()]}::bigint[])
    )
    select * from layer`
  const byNid = new Map(rows.map((row) => [row.snapshot_nid, row]))
  for (const nid of missing) {
    const snapshot = build(nid, roomNid, byNid, built)
    found.set(nid, snapshot)
    cache.add(snapshot)
  }
  return found
}

/** From the lowest layer upwards; a height has at most 31 bits, so it does not go deep. */
function build(
  nid: number,
  roomNid: number,
  rows: ReadonlyMap<number, Row>,
  built: Map<number, Snapshot>,
): Snapshot {
  const done = built.get(nid)
  if (done) return done
  const row = rows.get(nid)
  if (!row) throw new Error(`Snapshot ${nid} is not there`)
  const pairs = unpack(row.packed)
  const hash = hashFromBytes(row.hash)
  const { height } = row
  let snapshot: Snapshot
  if (row.base_nid === null) {
    const layer = { nid, height, changes: undefined }
    const state = StateMap.of(pairs.keys, pairs.events, hash)
    snapshot = { nid, roomNid, state, height, layers: [layer] }
  } else {
    const base = build(row.base_nid, roomNid, rows, built)
    const changes: [number, number | undefined][] = []
    for (let at = 0; at < pairs.keys.length; at++)
      changes.push([pairs.keys[at]!, pairs.events[at]! || undefined])
    const layer = { nid, height, changes: pairs }
    const state = base.state.with(changes)
    snapshot = { nid, roomNid, state, height, layers: [layer, ...base.layers] }
  }
  built.set(nid, snapshot)
  return snapshot
}
