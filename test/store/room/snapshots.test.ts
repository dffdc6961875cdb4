import { beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { pack, unpack } from '#store/room/packed-state.ts'
import { SnapshotCache } from '#store/room/snapshot-cache.ts'
import * as snapshots from '#store/room/snapshots.ts'
import { sameHash } from '#store/room/state-hash.ts'
import { StateMap } from '#store/room/state-map.ts'
import { Owner, next } from './fixtures.ts'
import { random } from './random.ts'

const db = await testDatabase()
const sql = db.pool
let owner: Owner
beforeAll(async () => {
  owner = await Owner.of(sql, [4])
})

describe('packed pairs', () => {
  test('come back as they were, of one shard or not, small or large', () => {
    const draw = random(4)
    for (const [length, step] of [
      [0, 64],
      [1, 64],
      [5, 1],
      [3000, 64],
      [3000, 1],
    ] as const) {
      const keys = Float64Array.from(
        new Set(Array.from({ length }, () => draw(2 ** 31) * (draw(50) ? 1 : 2 ** 20))),
      ).sort()
      const events = keys.map(() => (draw(10) ? 64 + draw(2 ** 31) * step * 2 ** draw(15) + 17 : 0))
      const packed = pack({ keys, events })
      expect(unpack(packed)).toEqual({ keys, events })
      if (length > 1000) expect(packed[0]).toBe(1)
    }
    const low = { keys: Float64Array.of(1, 2), events: Float64Array.of(5, 69) }
    expect(unpack(pack(low))).toEqual(low)
  })

  test('that are cut off are noticed', () => {
    const packed = pack({ keys: Float64Array.of(1, 500), events: Float64Array.of(64, 128) })
    expect(() => unpack(packed.subarray(0, packed.length - 1))).toThrow('cut off')
  })
})

/** States of one room along random branches, as the engine makes them. */
async function grow(rounds: number, members: number, seed: number) {
  const draw = random(seed)
  const part = owner.room(4)
  const shard = owner.shard(4)
  const event = () => shard.nextNid()
  const first = StateMap.from(Array.from({ length: members }, (_, key) => [key + 1, event()]))
  const whole = snapshots.makeWhole(shard.nextNid(), part.roomNid, first)
  part.snapshots.push(whole.row)
  const made = [whole.snapshot]
  for (let round = 0; round < rounds; round++) {
    // Mostly on from the newest, now and then from an older one.
    const older = draw(10) ? made.at(-1)! : made[draw(made.length)]!
    const changes = new Map(
      Array.from({ length: 1 + (draw(20) ? 0 : draw(5)) }, (): [number, number | undefined] => [
        1 + draw(members * 2),
        draw(8) ? event() : undefined,
      ]),
    )
    const state = older.state.with(changes)
    const { snapshot, row } = snapshots.make(shard.nextNid(), older, changes, state)
    part.snapshots.push(row)
    made.push(snapshot)
  }
  await owner.commit(part)
  return { made, part }
}

describe('a snapshot', () => {
  test('is read as it was written, in any company, from any cache', async () => {
    for (const [rounds, members] of [
      [60, 3],
      [300, 40],
      [1000, 1000],
    ] as const) {
      const { made, part } = await grow(rounds, members, members)
      const draw = random(9)
      const cold = new SnapshotCache(100_000_000)
      const tiny = new SnapshotCache(1)
      for (let round = 0; round < 10; round++) {
        const wanted = Array.from({ length: 1 + draw(4) }, () => made[draw(made.length)]!)
        const nids = wanted.map(({ nid }) => nid)
        for (const cache of [cold, tiny]) {
          const found = await snapshots.load(sql, 4, part.roomNid, nids, cache)
          for (const { nid, state, height } of wanted) {
            const read = found.get(nid)!
            expect([...read.state]).toEqual([...state])
            expect(sameHash(read.state.hash, state.hash)).toBeTrue()
            expect(read.height).toBe(height)
          }
        }
        expect(tiny.size).toBe(1)
      }
      // What was read can be built on.
      const last = made.at(-1)!
      const { snapshot, row } = snapshots.make(
        owner.shard(4).nextNid(),
        (await snapshots.load(sql, 4, part.roomNid, [last.nid], tiny)).get(last.nid)!,
        new Map([[7, 64_000_004]]),
        last.state.with([[7, 64_000_004]]),
      )
      const later = next(part)
      later.snapshots.push(row)
      await owner.commit(later)
      const again = await snapshots.load(
        sql,
        4,
        part.roomNid,
        [snapshot.nid],
        new SnapshotCache(1_000_000),
      )
      expect(again.get(snapshot.nid)!.state.get(7)).toBe(64_000_004)
    }
  })

  test('is read with no more rows than its height has bits', async () => {
    const { part } = await grow(1000, 2000, 5)
    const rows = await sql<{ nid: number; height: number; rows: number }[]>`
      with recursive layer as (
        select snapshot_nid as nid, height, base_nid from snapshots where room_nid = ${part.roomNid}
        union all
        select l.nid, l.height, s.base_nid from layer l
        join snapshots s on s.shard = 4 and s.snapshot_nid = l.base_nid
      )
      select nid, height, count(*)::int as rows from layer group by nid, height`
    expect(rows.length).toBe(1001)
    const bits = (n: number) => n.toString(2).replaceAll('0', '').length
    for (const { height, rows: count } of rows) expect(count).toBeLessThanOrEqual(1 + bits(height))
    expect(Math.max(...rows.map(({ height }) => height))).toBeGreaterThan(60)
  })

  test('takes few bytes for a change in a large room', async () => {
    const { part } = await grow(500, 20_000, 6)
    const [row] = await sql<{ bytes: number }[]>`
      select avg(length(packed))::float as bytes from snapshots
      where room_nid = ${part.roomNid} and height > 0`
    expect(row!.bytes).toBeLessThan(200)
  })
})

describe('the cache', () => {
  test('finds the snapshot of a state that is there already', async () => {
    const { made, part } = await grow(50, 30, 7)
    const { nid, state } = made[20]!
    const same = StateMap.from(state)
    const changed = same.with([[1, 99]])
    const cache = new SnapshotCache(1e6)
    cache.add(made[20]!)
    expect(cache.findSame(part.roomNid, same)?.nid).toBe(nid)
    expect(cache.findSame(part.roomNid, changed)).toBeUndefined()
    expect(cache.findSame(part.roomNid + 64, same)).toBeUndefined()
  })

  test('counts what is shared once, and nothing when all is gone', () => {
    const cache = new SnapshotCache(1e9)
    const state = StateMap.from(
      Array.from({ length: 10_000 }, (_, key) => [key + 1, 64 * key + 64]),
    )
    let snapshot = snapshots.makeWhole(1, 1, state).snapshot
    cache.add(snapshot)
    const first = cache.bytes
    expect(first).toBeGreaterThan(160_000)
    for (let nid = 2; nid < 50; nid++) {
      const changes = new Map([[nid * 7, 64 * nid]])
      snapshot = snapshots.make(nid, snapshot, changes, snapshot.state.with(changes)).snapshot
      cache.add(snapshot)
    }
    expect(cache.bytes).toBeLessThan(first + 49 * 12_000)
    for (let nid = 1; nid < 49; nid++) cache.remove(nid)
    expect(cache.bytes).toBeGreaterThan(160_000)
    cache.remove(49)
    expect(cache.bytes).toBe(0)
    expect(cache.ofRoom(1).size).toBe(0)
  })

  test('drops what was used the longest ago', () => {
    const cache = new SnapshotCache(100_000)
    const add = (nid: number) => {
      const pairs = Array.from({ length: 1000 }, (_, key): [number, number] => [key, nid * 64])
      cache.add(snapshots.makeWhole(nid, 1, StateMap.from(pairs)).snapshot)
    }
    for (let nid = 1; nid <= 5; nid++) add(nid)
    expect(cache.get(1)).toBeDefined()
    add(6)
    expect(cache.bytes).toBeLessThanOrEqual(100_000)
    expect([1, 2, 6].map((nid) => cache.get(nid) !== undefined)).toEqual([true, false, true])
  })
})
