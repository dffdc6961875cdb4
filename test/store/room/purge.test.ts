import { beforeAll, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { StoredSnapshots } from '#engine/read/snapshots.ts'
import type { RoomPart } from '#store/room/batch.ts'
import { firstStep, purge, type PurgeStep } from '#store/room/purge.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import * as snapshots from '#store/room/snapshots.ts'
import { sameHash } from '#store/room/state-hash.ts'
import { StateMap } from '#store/room/state-map.ts'
import { Owner, next } from './fixtures.ts'
import { random } from './random.ts'

// A shard for each tree: a purge reads all events of one.
const shards = Array.from({ length: 10 }, (_, index) => 20 + index)
const { pool: sql } = await testDatabase()
let owner: Owner
beforeAll(async () => {
  owner = await Owner.of(sql, shards)
})

type Draw = (below: number) => number
type Tree = { part: RoomPart; made: snapshots.Snapshot[]; depth: number; members: number }

/** Puts states on top of a tree of them, each before some events. */
async function grow(tree: Tree, rounds: number, draw: Draw): Promise<void> {
  const { part, made, members } = tree
  const numbers = owner.shard(part.shard)
  for (let round = 0; round < rounds; round++) {
    const older = draw(8) ? made.at(-1)! : made[draw(made.length)]!
    const changes = new Map(
      Array.from(
        { length: 1 + (draw(12) ? 0 : draw(members)) },
        (): [number, number | undefined] => [
          1 + draw(members * 2),
          draw(6) ? numbers.nextNid() : undefined,
        ],
      ),
    )
    const state = older.state.with(changes)
    const { snapshot, row } = snapshots.make(numbers.nextNid(), older, changes, state)
    part.snapshots.push(row)
    made.push(snapshot)
    // A state in the middle may be before no event any more: what it was made for is purged.
    for (let events = draw(3); events > 0; events--)
      owner.event(part, { snapshotNid: snapshot.nid, depth: ++tree.depth })
  }
  owner.event(part, { snapshotNid: made.at(-1)!.nid, depth: ++tree.depth })
  await owner.commit(part)
  tree.part = next(part)
}

async function plant(members: number, shard: number): Promise<Tree> {
  const part = owner.room(shard)
  const numbers = owner.shard(shard)
  const pairs = Array.from({ length: members }, (_, key): [number, number] => [
    key + 1,
    numbers.nextNid(),
  ])
  const whole = snapshots.makeWhole(numbers.nextNid(), part.roomNid, StateMap.from(pairs))
  part.snapshots.push(whole.row)
  owner.event(part, { snapshotNid: whole.snapshot.nid, depth: 1 })
  return { part, made: [whole.snapshot], depth: 1, members }
}

async function purgeAll({ part }: Tree, depth: number, limit: number): Promise<number> {
  const what = { shard: part.shard, roomNid: part.roomNid, depth }
  let steps = 0
  let step: PurgeStep | null = firstStep
  for (; step; steps++) step = await purge(sql, what, step, limit)
  return steps
}

const rowsOf = ({ part }: Tree) =>
  sql<{ nid: number; base: number | null; refs: number; events: number; children: number }[]>`
    select s.snapshot_nid as nid, s.base_nid as base, s.refs,
      (select count(*)::int from events e where e.shard = s.shard and e.snapshot_nid = s.snapshot_nid)
        as events,
      (select count(*)::int from snapshots c where c.shard = s.shard and c.base_nid = s.snapshot_nid)
        as children
    from snapshots s where s.shard = ${part.shard} and s.room_nid = ${part.roomNid}`

const sorted = (numbers: readonly number[]) => numbers.toSorted((a, b) => a - b)

/** Everything that is left reads as it did, with or without memory, and nothing is left that need not be. */
async function check(tree: Tree, reader: StoredSnapshots): Promise<void> {
  const byNid = new Map(tree.made.map((snapshot) => [snapshot.nid, snapshot]))
  const rows = await rowsOf(tree)
  const left = rows.filter(({ events }) => events > 0).map(({ nid }) => nid)
  const { shard, roomNid } = tree.part
  const found = await snapshots.load(sql, shard, roomNid, left, new SnapshotCache(1e8))
  for (const nid of left) {
    const { state } = byNid.get(nid)!
    const read = found.get(nid)!.state
    expect([...read]).toEqual([...state])
    expect(sameHash(read.hash, state.hash)).toBeTrue()
    const events = Array.from(state, ([, event]) => event)
    for (const each of [reader, new StoredSnapshots()])
      expect(sorted(await each.whole(sql, nid))).toEqual(sorted(events))
  }
  for (const { refs, events, children } of rows) expect(refs).toBe(events + children)
  // What no event needs is there only because several others build on it.
  expect(rows.filter(({ events, children }) => events === 0 && children < 2)).toEqual([])
}

test('whatever is purged, in steps of any size, all states that are left read as before', async () => {
  for (let seed = 1; seed <= 4; seed++) {
    const draw = random(seed)
    const tree = await plant([3, 40, 300][seed % 3]!, shards[seed]!)
    await grow(tree, 60 + draw(60), draw)
    const reader = new StoredSnapshots()
    for (let round = 0; round < 3; round++) {
      for (const { nid, events } of await rowsOf(tree))
        if (events > 0 && draw(2)) await reader.whole(sql, nid)
      await purgeAll(tree, 1 + draw(tree.depth), [5, 30, 1000][draw(3)]!)
      await check(tree, reader)
      // What is left can be built on.
      const rows = await rowsOf(tree)
      const left = rows.filter(({ events }) => events > 0).map(({ nid }) => nid)
      const { shard, roomNid } = tree.part
      const all = await snapshots.load(sql, shard, roomNid, left, new SnapshotCache(1e8))
      tree.made = [...all.values()].sort((a, b) => a.nid - b.nid)
      await grow(tree, 20, draw)
    }
    await purgeAll(tree, 0, 50)
    await check(tree, reader)
  }
})

test('of a room all of whose past goes one row is left, and extremities keep their state', async () => {
  const tree = await plant(50, shards[7]!)
  await grow(tree, 100, random(77))
  const [last] = await sql<{ event_nid: number }[]>`
    select event_nid from events where shard = ${tree.part.shard} and room_nid = ${tree.part.roomNid}
    order by depth desc limit 1`
  tree.part.extremities.added.push(last!.event_nid)
  await owner.commit(tree.part)
  await purgeAll(tree, tree.depth + 1, 7)
  const rows = [...(await rowsOf(tree))]
  expect(rows).toEqual([
    { nid: tree.made.at(-1)!.nid, base: null, refs: 1, events: 1, children: 0 },
  ])
  await check(tree, new StoredSnapshots())
})

test('a step goes over so many rows and no more, and other rooms are left alone', async () => {
  const [tree, other] = [await plant(10, shards[8]!), await plant(10, shards[8]!)]
  await grow(tree, 50, random(5))
  await grow(other, 50, random(6))
  const before = await rowsOf(other)
  const depth = tree.depth
  const steps = await purgeAll(tree, depth, 10)
  const [events] = await sql<{ count: number }[]>`
    select count(*)::int as count from events where shard = ${tree.part.shard}`
  expect(steps).toBeGreaterThanOrEqual(Math.floor(events!.count / 10) + 6)
  expect([...(await rowsOf(other))]).toEqual([...before])
})
