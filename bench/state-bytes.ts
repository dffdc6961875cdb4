import { Owner, next } from '#test/store/room/fixtures.ts'
import type { NewSnapshot } from '#store/room/batch.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import * as snapshots from '#store/room/snapshots.ts'
import { StateMap } from '#store/room/state-map.ts'
import { openBench } from './figures.ts'
import { type Stand, withStand } from './stand.ts'

const help = `
What a change of state costs in a room of 50,000 members: bytes in the database (rows, their index
entries, and what is kept out of line), time to make the snapshot, rows and time to read one back. For
comparison: Synapse writes a row of state_groups_state (about 200 bytes with its index entry) for a change,
and every 100 changes all 50,000 of them.

  bun run bench state-bytes [--members 50000] [--changes 20000]
`

const bench = openBench(
  'state-bytes',
  help,
  { members: 50_000, changes: 20_000 },
  { members: 5_000, changes: 1_000 },
)
const { members, changes } = bench.options
const perBatch = 500

const run = async ({ pool: sql }: Stand) => {
  const owner = await Owner.of(sql, [1])
  const shard = owner.shard(1)
  const room = owner.room(1)
  // Members have come from anywhere at any time: their numbers lie apart, and in no order.
  const keys: number[] = []
  for (let key = 1; keys.length < members; key += 1 + Math.floor(Math.random() * 200))
    keys.push(key)
  const events = keys.map(() => 64 * Math.ceil(Math.random() * 5_000_000) + 1)
  shard.counter = 5_000_001
  const first = StateMap.from(keys.map((key, at) => [key, events[at]!]))
  let { snapshot, row } = snapshots.makeWhole(shard.nextNid(), room.roomNid, first)
  room.snapshots.push(row)
  await owner.commit(room)
  await vacuum()
  const before = await size()

  const nids: number[] = []
  let making = 0
  let slowest = 0
  let part = next(room)
  for (let step = 0; step < changes; step++) {
    const change = new Map([[1 + ((Math.imul(step, 0x9e3779b1) >>> 0) % members), shard.nextNid()]])
    const started = performance.now()
    const state = snapshot.state.with(change)
    const made: { snapshot: snapshots.Snapshot; row: NewSnapshot } = snapshots.make(
      shard.nextNid(),
      snapshot,
      change,
      state,
    )
    const took = performance.now() - started
    making += took
    slowest = Math.max(slowest, took)
    snapshot = made.snapshot
    nids.push(snapshot.nid)
    part.snapshots.push(made.row)
    if (part.snapshots.length === perBatch) {
      await owner.commit(part)
      part = next(room)
    }
  }
  await owner.commit(part)
  await vacuum()
  const bytes = (await size()) - before
  const [packed] = await sql<{ bytes: number; whole: number }[]>`
    select avg(length(packed))::float as bytes, max(length(packed))::int as whole from snapshots`
  bench.tell('a change', [
    { name: 'in all', value: bytes / changes, unit: 'bytes' },
    { name: 'of them packed state', value: packed!.bytes, unit: 'bytes' },
    { name: 'the whole state, packed', value: packed!.whole, unit: 'bytes' },
    {
      name: 'one row a change, and all every 100',
      value: (200 * (members + 100)) / 100,
      unit: 'bytes',
    },
    { name: 'making it', value: (1000 * making) / changes, unit: 'µs' },
    { name: 'making the slowest', value: slowest, unit: 'ms' },
  ])

  const times: number[] = []
  for (let round = 0; round < 30; round++) {
    const nid = nids[(Math.imul(round, 0x9e3779b1) >>> 0) % nids.length]!
    const started = performance.now()
    await snapshots.load(sql, 1, room.roomNid, [nid], new SnapshotCache(1e9))
    times.push(performance.now() - started)
  }
  times.sort((a, b) => a - b)
  const [depth] = await sql<{ rows: number; most: number }[]>`
    with recursive layer as (
      select snapshot_nid, base_nid from snapshots
      union all
      select l.snapshot_nid, s.base_nid from layer l
      join snapshots s on s.shard = 1 and s.snapshot_nid = l.base_nid
    )
    select avg(n)::float as rows, max(n)::int as most
    from (select count(*) as n from layer group by snapshot_nid) counted`
  bench.tell('reading one back, cold', [
    { name: 'rows', value: depth!.rows, unit: '' },
    { name: 'rows at most', value: depth!.most, unit: '' },
    { name: 'median', value: times[15]!, unit: 'ms' },
    { name: 'the slowest', value: times.at(-1)!, unit: 'ms' },
  ])

  async function vacuum() {
    await sql`vacuum analyze snapshots`
  }
  async function size(): Promise<number> {
    const [row] = await sql<{ bytes: number }[]>`
      select pg_total_relation_size('snapshots') as bytes`
    return row!.bytes
  }
}

await withStand(run, { quick: true })
bench.chart('Bytes of a change', ['in all', 'one row a change, and all every 100'], {
  groups: ['a change'],
})
bench.finish()
