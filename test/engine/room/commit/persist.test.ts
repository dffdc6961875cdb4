import { expect, test } from 'bun:test'
import { emptyPart, type NewEvent } from '#store/room/batch.ts'
import { commit } from '#store/room/commit.ts'
import { takeOver } from '#store/room/shards.ts'
import type { Pool } from '#store/db.ts'
import type { Decided, Persisted } from '#engine/room/decide/decided.ts'
import { Persister, type PersistOptions } from '#engine/room/commit/persist.ts'
import type { Committed, Work } from '#engine/room/work.ts'
import { openTestDatabase, testDatabase } from '#test/database.ts'

const database = await testDatabase()

class FakeRoom implements Persisted {
  readonly shard: number
  readonly nid: number
  failures: { works: Work<never>[]; culprit: Error | undefined }[] = []
  constructor(shard: number, nid: number) {
    this.shard = shard
    this.nid = nid
  }
  commitFailed(works: Work<never>[], culprit: Error | undefined): void {
    this.failures.push({ works, culprit })
  }
  commitRefused(works: Work<never>[], lack: Error): void {
    this.failures.push({ works, culprit: lack })
  }
}

class FakeWork implements Work<never> {
  readonly local: boolean
  readonly bytes = 100
  readonly inboxIds: readonly number[] = []
  readonly done = Promise.withResolvers<Committed>()
  constructor(local = false) {
    this.local = local
  }
  // eslint-disable-next-line require-yield
  *decide(): Generator<undefined, null, undefined> {
    return null
  }
  committed(committed: Committed): void {
    this.done.resolve(committed)
  }
  failed(error: Error): void {
    this.done.reject(error)
  }
}

async function setUp(changes: Partial<PersistOptions> = {}, pool: Pool = database.pool) {
  const shards = new Map(
    (await takeOver(pool, [1, 2, 3], 'test')).map((shard) => [shard.shard, shard]),
  )
  const seen: [number, number][] = []
  const fatal: Error[] = []
  const errors: unknown[] = []
  const persister = new Persister({
    pool,
    shards,
    onCommitted: (positions) => seen.push(...positions),
    onFatal: (error) => fatal.push(error),
    onError: (error) => errors.push(error),
    ...changes,
  })
  const decide = (room: FakeRoom, work: FakeWork, poison = false): Decided => {
    const shard = shards.get(room.shard)!
    const part = emptyPart(room.shard, room.nid)
    part.state.push({
      position: 1,
      typeNid: 1,
      stateKeyNid: shard.nextNid(),
      oldEventNid: null,
      // A number that is none makes the statement fail.
      newEventNid: poison ? ('poison' as unknown as number) : shard.nextNid(),
      member: null,
    })
    return { room, work, outcome: { part, positions: 1, ingests: 0 }, alone: false }
  }
  return { persister, shards, seen, fatal, errors, decide, pool }
}

const deltas = (pool: Pool, shard: number, room: number) =>
  pool<{ position: number }[]>`
    select position from state_deltas where shard = ${shard} and room_nid = ${room} order by 1`

test('work is answered after its commit, with the positions it took, and readers hear of it first', async () => {
  const { persister, seen, decide, pool } = await setUp()
  const room = new FakeRoom(1, 65)
  const works = Array.from({ length: 30 }, () => new FakeWork())
  for (const work of works) persister.add(decide(room, work))
  const told: boolean[] = []
  void works[29]!.done.promise.then(() => told.push(seen.length > 0))
  const positions = (await Promise.all(works.map((work) => work.done.promise))).map(
    ({ firstPosition }) => firstPosition,
  )
  expect(positions).toEqual(Array.from({ length: 30 }, (_, i) => positions[0]! + i))
  expect((await deltas(pool, 1, 65)).map(({ position }) => position)).toEqual(positions)
  expect(seen.at(-1)).toEqual([1, positions[29]!])
  expect(told).toEqual([true])
  // The first went at once; the rest was collected while it was in flight.
  expect(persister.counters.commits).toBe(2)
})

test('with the positions it is told whether anything goes to other servers', async () => {
  const told: boolean[] = []
  const { persister, decide } = await setUp({
    commit: async () => {},
    onCommitted: (_, sends) => told.push(sends),
  })
  const room = new FakeRoom(1, 65)
  const event = { position: null, ingest: null } as NewEvent
  for (const events of [
    [],
    [{ ...event, destinationSet: null }],
    [
      { ...event, destinationSet: null },
      { ...event, destinationSet: 7 },
    ],
  ]) {
    const work = new FakeWork()
    const decided = decide(room, work)
    decided.outcome.part.events.push(...events)
    persister.add(decided)
    await work.done.promise
  }
  expect(told).toEqual([false, false, true])
})

test('a shard has one commit in flight, and another shard need not wait for it', async () => {
  const gate = Promise.withResolvers<void>()
  const inFlight: number[][] = []
  const { persister, decide } = await setUp({
    commit: async (pool, batch) => {
      inFlight.push(batch.shards.map(({ shard }) => shard))
      if (batch.shards.some(({ shard }) => shard === 2)) await gate.promise
      await commit(pool, batch)
    },
  })
  const slow = new FakeRoom(2, 66)
  const first = new FakeWork()
  const second = new FakeWork()
  persister.add(decide(slow, first))
  persister.add(decide(slow, second))
  const other = new FakeWork()
  persister.add(decide(new FakeRoom(3, 67), other))
  await other.done.promise
  expect(inFlight).toEqual([[2], [3]])
  gate.resolve()
  await Promise.all([first.done.promise, second.done.promise])
  expect(inFlight).toEqual([[2], [3], [2]])
})

test('what nobody waits for is collected while lanes are at work, and goes when they rest', async () => {
  let busy = true
  const { persister, decide } = await setUp({ moreComes: () => busy })
  const works = Array.from({ length: 20 }, () => new FakeWork())
  const room = new FakeRoom(1, 5001)
  for (const work of works) persister.add(decide(room, work))
  expect(persister.pending).toBe(20)
  busy = false
  persister.settle()
  expect(persister.pending).toBe(0)
  await Promise.all(works.map((work) => work.done.promise))
  expect(persister.counters.commits).toBe(1)
})

test('lanes that never rest hold back nothing for long', async () => {
  const { persister, decide } = await setUp({ moreComes: () => true })
  const few = new FakeWork()
  persister.add(decide(new FakeRoom(1, 5002), few))
  await few.done.promise
  // Nor more than makes a batch.
  const flooded = new FakeRoom(2, 5003)
  const many = Array.from({ length: 500 }, () => new FakeWork())
  for (const work of many) persister.add(decide(flooded, work))
  expect(persister.pending).toBeLessThan(500)
  await Promise.all(many.map((work) => work.done.promise))
})

test('a local user waits for nothing that is collected, and takes it along', async () => {
  const { persister, decide } = await setUp({ moreComes: () => true })
  const room = new FakeRoom(1, 5004)
  const outside = new FakeWork()
  const local = new FakeWork(true)
  persister.add(decide(room, outside))
  expect(persister.pending).toBe(1)
  persister.add(decide(room, local))
  expect(persister.pending).toBe(0)
  const [first, second] = await Promise.all([outside.done.promise, local.done.promise])
  expect(second.firstPosition).toBe(first.firstPosition + 1)
  expect(persister.counters.commits).toBe(1)
})

test('a flooded shard does not ride with a quiet one', async () => {
  const batches: { shards: number[]; events: number }[] = []
  const gate = Promise.withResolvers<void>()
  const { persister, decide } = await setUp({
    maxEvents: 40,
    commit: async (pool, batch) => {
      const events = batch.parts.reduce((sum, part) => sum + part.state.length, 0)
      batches.push({ shards: batch.shards.map(({ shard }) => shard), events })
      if (batches.length <= 2) await gate.promise
      await commit(pool, batch)
    },
  })
  const flooded = new FakeRoom(1, 129)
  const quiet = new FakeRoom(2, 130)
  const works = Array.from({ length: 100 }, () => new FakeWork())
  persister.add(decide(flooded, works[0]!))
  const last = new FakeWork()
  persister.add(decide(quiet, new FakeWork()))
  for (const work of works.slice(1)) persister.add(decide(flooded, work))
  persister.add(decide(quiet, last))
  gate.resolve()
  await Promise.all([...works, last].map((work) => work.done.promise))
  expect(batches.slice(2).every(({ shards }) => shards.length === 1)).toBe(true)
  expect(batches.every(({ events }) => events <= 40)).toBe(true)
})

test('what a local user waits for goes before what came from outside', async () => {
  const order: number[][] = []
  const gate = Promise.withResolvers<void>()
  const { persister, decide } = await setUp({
    maxEvents: 20,
    commit: async (pool, batch) => {
      order.push(batch.parts.map(({ roomNid }) => roomNid))
      if (order.length === 1) await gate.promise
      await commit(pool, batch)
    },
  })
  persister.add(decide(new FakeRoom(1, 193), new FakeWork()))
  for (let i = 0; i < 60; i++)
    persister.add(decide(new FakeRoom(1, 257 + 64 * (i % 6)), new FakeWork()))
  const local = new FakeWork(true)
  persister.add(decide(new FakeRoom(1, 6401), local))
  gate.resolve()
  await local.done.promise
  expect(order[1]![0]).toBe(6401)
  await persister.idle()
})

test('of a batch that fails, only the bad room is decided again, and its positions harm nobody', async () => {
  const { persister, decide, errors, pool } = await setUp()
  const good = new FakeRoom(1, 2001)
  const bad = new FakeRoom(1, 2002)
  const works = Array.from({ length: 4 }, () => new FakeWork())
  const rotten = [new FakeWork(), new FakeWork()]
  // One by one: the first goes at once, alone.
  persister.add(decide(good, works[0]!))
  persister.add(decide(bad, rotten[0]!, true))
  persister.add(decide(good, works[1]!))
  persister.add(decide(bad, rotten[1]!))
  persister.add(decide(good, works[2]!))
  persister.add(decide(good, works[3]!))
  const positions = await Promise.all(works.map((work) => work.done.promise))
  await persister.idle()
  expect(bad.failures).toEqual([{ works: rotten, culprit: undefined }])
  expect(good.failures).toEqual([])
  expect(errors).toHaveLength(1)
  expect((await deltas(pool, 1, 2001)).map(({ position }) => position)).toEqual(
    positions.map(({ firstPosition }) => firstPosition),
  )
  expect(await deltas(pool, 1, 2002)).toHaveLength(0)

  // Again, alone: now it is named.
  persister.add({ ...decide(bad, rotten[0]!, true), alone: true })
  persister.add({ ...decide(bad, rotten[1]!), alone: true })
  await persister.idle()
  expect(bad.failures[1]!.works).toEqual(rotten)
  expect(bad.failures[1]!.culprit).toBeInstanceOf(Error)
  persister.add({ ...decide(bad, rotten[1]!), alone: true })
  await rotten[1]!.done.promise
})

const lost = () => Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' })

test('a batch whose answer was lost is looked up: what was committed is not done twice', async () => {
  let calls = 0
  const { persister, decide, pool } = await setUp({
    commit: async (pool, batch) => {
      calls++
      await commit(pool, batch)
      if (calls === 1) throw lost()
    },
  })
  const work = new FakeWork()
  const room = new FakeRoom(1, 3001)
  persister.add(decide(room, work))
  await work.done.promise
  expect(calls).toBe(1)
  expect(await deltas(pool, 1, 3001)).toHaveLength(1)
  const next = new FakeWork()
  persister.add(decide(room, next))
  await next.done.promise
  expect(persister.awayMs).toBe(0)
})

test('a batch that was lost before its commit is tried again', async () => {
  let calls = 0
  const { persister, decide, pool } = await setUp({
    commit: async (pool, batch) => {
      if (++calls < 3) throw lost()
      await commit(pool, batch)
    },
  })
  const work = new FakeWork()
  persister.add(decide(new FakeRoom(1, 3002), work))
  await work.done.promise
  expect(calls).toBe(3)
  expect(await deltas(pool, 1, 3002)).toHaveLength(1)
})

test('a worker whose lease was taken stops, and commits nothing more', async () => {
  await using own = await openTestDatabase()
  const { persister, decide, fatal, pool } = await setUp({}, own.pool)
  await takeOver(own.pool, [1], 'another')
  persister.add(decide(new FakeRoom(1, 65), new FakeWork()))
  await persister.idle()
  expect(fatal).toHaveLength(1)
  expect(await deltas(pool, 1, 65)).toHaveLength(0)
})

test('lanes wait when too much is decided ahead', async () => {
  const gate = Promise.withResolvers<void>()
  const { persister, decide } = await setUp({
    commit: async (pool, batch) => {
      await gate.promise
      await commit(pool, batch)
    },
  })
  const room = new FakeRoom(1, 4001)
  for (let i = 0; i < 10; i++) persister.add(decide(room, new FakeWork()))
  let went = false
  const waiting = persister.below(5).then(() => (went = true))
  await Bun.sleep(2)
  expect(went).toBe(false)
  gate.resolve()
  await waiting
  await persister.idle()
  expect([persister.pending, persister.pendingBytes]).toEqual([0, 0])
})
