import { expect, test } from 'bun:test'
import { HeldRows, InboxMemory, type Reader } from '#engine/room/inbox/inbox-memory.ts'
import { shardOf } from '#core/shard.ts'
import { limitsWith } from '#engine/room/limits.ts'
import { commit } from '#store/room/commit.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  say,
  store,
} from '#test/room-engine.ts'
import { openStage, stored, until } from '#test/room-engine.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()

const memoryOf = (limits: { [name: string]: number }) => new InboxMemory(limitsWith(limits))

class Lane implements Reader {
  readonly held: HeldRows
  wants = true
  runs = 0
  #next = 0

  constructor(memory: InboxMemory) {
    this.held = new HeldRows(memory)
  }

  get bytes(): number {
    return this.held.bytes
  }

  run(): void {
    this.runs++
  }

  take(bytes: number): number {
    this.held.add(++this.#next, bytes)
    return this.#next
  }
}

test('a lane takes no more than its share, and one that has nothing gets in beside those that have much', () => {
  const memory = memoryOf({ inboxBytes: 100, laneBytes: 60 })
  const [big, other, quiet] = [new Lane(memory), new Lane(memory), new Lane(memory)]
  expect(memory.fits(big, 60)).toBe(true)
  big.take(60)
  expect(memory.fits(big, 1)).toBe(false)
  other.take(50)
  // All have more than there should be.
  expect(memory.fits(other, 1)).toBe(false)
  expect(memory.fits(quiet, 70)).toBe(true)
  quiet.take(70)
  expect(memory.fits(new Lane(memory), 30)).toBe(false)
})

test('whoever finds no room is let on when there is some, in the order in which they asked', async () => {
  const memory = memoryOf({ inboxBytes: 50, laneBytes: 200, readersAtOnce: 1 })
  const [big, first, second] = [new Lane(memory), new Lane(memory), new Lane(memory)]
  const row = big.take(100)
  expect([memory.begin(first), memory.begin(second)]).toEqual([0, 0])
  expect(memory.waiting).toBe(2)
  big.held.delete(row)
  await Promise.resolve()
  expect([first.runs, second.runs]).toEqual([1, 0])
  expect(memory.begin(first)).toBe(200)
  expect(memory.begin(second)).toBe(0)
  memory.end(first)
  await Promise.resolve()
  expect([first.runs, second.runs]).toEqual([1, 1])
})

test('a lane that wants nothing any more does not use up the turn of the next', async () => {
  const memory = memoryOf({ readersAtOnce: 1 })
  const [reader, gone, next] = [new Lane(memory), new Lane(memory), new Lane(memory)]
  memory.begin(reader)
  memory.begin(gone)
  memory.begin(next)
  gone.wants = false
  memory.end(reader)
  await Promise.resolve()
  expect([gone.runs, next.runs]).toEqual([0, 1])
})

test('what waits for the network keeps nothing out', () => {
  const memory = memoryOf({ inboxBytes: 100, laneBytes: 100 })
  const lane = new Lane(memory)
  const row = lane.take(100)
  expect(memory.fits(lane, 1)).toBe(false)
  lane.held.setAside([row, row])
  expect([lane.bytes, memory.fits(lane, 100)]).toEqual([0, true])
  lane.held.takeBack([row, row])
  expect(lane.bytes).toBe(100)
  lane.held.setAside([row])
  lane.held.delete(row)
  expect(memory.gauges()).toMatchObject({ inboxBytes: 0 })
})

test('parked events have bounds of all rooms, of one origin in them, and in bytes', () => {
  const memory = memoryOf({ parkedInAll: 3, parkedOfOrigin: 2, asideBytes: 100 })
  expect([memory.park('a', 1), memory.park('a', 1), memory.park('a', 1)]).toEqual([
    true,
    true,
    false,
  ])
  expect(memory.park('b', 99)).toBe(false)
  expect([memory.park('b', 98), memory.park('c', 0)]).toEqual([true, false])
  memory.unpark('a', 1)
  expect(memory.park('c', 1)).toBe(true)
  expect(memory.gauges()).toMatchObject({ parkedInAll: 3, asideBytes: 100 })
})

test('large events stay in the inbox until there is room, and all come in, in order', async () => {
  const limits = { laneBytes: 40_000, inboxBytes: 60_000 }
  await using stage = await openScene(database, { limits })
  const { roomId, room, engine } = stage
  const { memory } = engine.parts
  let most = 0
  const hold = memory.hold.bind(memory)
  memory.hold = (bytes) => {
    hold(bytes)
    most = Math.max(most, memory.gauges().inboxBytes)
  }
  const said = Array.from({ length: 40 }, () => room.say(mallory, 'x'.repeat(20_000)))
  const texts = said.map(({ text }) => text)
  await deliver(stage, database, roomId, there, texts)
  await until(inboxIsEmpty(database, roomId))
  for (const { event } of said)
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
  expect(most).toBeGreaterThan(0)
  expect(most).toBeLessThanOrEqual(2 * limits.inboxBytes)
  await until(() => memory.gauges().inboxBytes === 0)
  expect(memory.gauges()).toMatchObject({ asideBytes: 0, parkedInAll: 0, inboxReading: 0 })
  expect(stage.errors).toEqual([])
})

test('an engine that starts with much in the inboxes of many rooms goes on in all of them', async () => {
  const servers = [there, new MadeUpServer('other.test')]
  const expected: [roomId: string, eventId: string][] = []
  {
    await using stage = await openStage(database, servers)
    for (let n = 0; n < 12; n++) {
      const roomId = await createRoom(stage)
      const room = await joinFrom(stage, database, roomId, there, 'mallory')
      const said = Array.from({ length: 30 }, (_, index) => room.say(mallory, `${index}`))
      await store(
        database,
        roomId,
        there,
        said.map(({ text }) => text),
      )
      expected.push([roomId, said.at(-1)!.event.eventId])
    }
  }
  const limits = { laneEvents: 7, readersAtOnce: 2, resumeAhead: 3, inboxBytes: 20_000 }
  await using stage = await openStage(database, servers, { limits })
  // A local send need not wait for any of it.
  await say(stage, expected.at(-1)![0], 'we go on')
  for (const [roomId, eventId] of expected) {
    await until(inboxIsEmpty(database, roomId))
    expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
  }
  await until(() => stage.engine.parts.memory.gauges().inboxBytes === 0)
  expect(stage.errors).toEqual([])
})

test('rows that wait for keys leave room for those of other servers, and come when the keys do', async () => {
  const laneEvents = 40
  const other = new MadeUpServer('other.test')
  let roomId: string
  let texts: string[]
  let valid: { event: { eventId: string }; text: string }
  {
    await using stage = await openStage(database, [there, other])
    roomId = await createRoom(stage)
    await joinFrom(stage, database, roomId, other, 'eve')
    const room = await joinFrom(stage, database, roomId, there, 'mallory')
    texts = Array.from({ length: 200 }, (_, i) => room.say(mallory, `${i}`).text)
    valid = (await adopt(database, roomId, other)).say(other.user('eve'), 'so do we')
  }
  // A fresh engine knows no keys.
  let most = 0
  await using later = await openStage(database, [there, other], {
    limits: { laneEvents, prepare: 5, retryMs: 3_600_000 },
    commit: async (pool, batch) => {
      const { park, length } = later.engine.lane(roomId).inbound
      most = Math.max(most, length - park.size)
      await commit(pool, batch)
    },
  })
  const gate = Promise.withResolvers<void>()
  later.federation.late.set(there.name, gate.promise)
  await deliver(later, database, roomId, there, texts)
  const { inbound } = later.engine.lane(roomId)
  await until(() => later.engine.counters()['putOffRemembered'] === 180)
  expect(inbound.inside.awaitingKeys).toBe(laneEvents / 2)
  await deliver(later, database, roomId, other, [valid.text])
  await until(async () => (await stored(database, roomId, valid.event.eventId)) !== undefined)
  expect(later.engine.counters()).toMatchObject({ accepted: 1, postponed: 0 })
  gate.resolve()
  await until(inboxIsEmpty(database, roomId))
  expect(later.engine.counters()).toMatchObject({ accepted: 201, woken: 180, postponed: 0 })
  expect(most).toBeLessThanOrEqual(laneEvents)
})

test('rows whose keys cannot be had go back to the inbox together, and are not woken for that', async () => {
  const unknown = new MadeUpServer('unknown.test')
  await using stage = await openStage(database, [there], {
    limits: { laneEvents: 40, prepare: 5, retryMs: 3_600_000 },
  })
  const roomId = await createRoom(stage)
  const room = await adopt(database, roomId, unknown)
  const texts = Array.from({ length: 100 }, (_, i) => room.say(unknown.user('x'), `${i}`).text)
  const gate = Promise.withResolvers<void>()
  stage.federation.keysGate = gate.promise
  await deliver(stage, database, roomId, unknown, texts)
  await until(() => stage.engine.counters()['putOffRemembered'] === 80)
  gate.resolve()
  await until(() => stage.engine.counters()['postponed'] === 20)
  expect(stage.engine.counters()).toMatchObject({ woken: 0, givenUp: 0, accepted: 0 })
})

test('an engine that starts with a very long inbox of one room lets all others go first', async () => {
  const flood = 20_000
  const quiet: [roomId: string, eventId: string][] = []
  let floodedId: string
  {
    await using stage = await openScene(database)
    floodedId = stage.roomId
    // Before all others, and of no worth: what there is of it is counted, and not what it costs.
    await database.pool`
      insert into inbox (shard, room_id, origin, json, received_at)
      select ${shardOf(floodedId)}, ${floodedId}, ${there.name}, '{}', 1
      from generate_series(1, ${flood}::integer)`
    for (let n = 0; n < 20; n++) {
      const roomId = await createRoom(stage)
      const room = await joinFrom(stage, database, roomId, there, 'mallory')
      const { event, text } = room.say(mallory, 'hello')
      await store(database, roomId, there, [text])
      quiet.push([roomId, event.eventId])
    }
    await stage.stop()
  }
  const left: number[] = []
  let [mostRows, mostBytes] = [0, 0]
  await using stage = await openStage(database, [there], {
    commit: async (pool, batch) => {
      const { engine } = stage
      mostRows = Math.max(mostRows, engine.lane(floodedId).inbound.length)
      mostBytes = Math.max(mostBytes, engine.parts.memory.gauges().inboxBytes)
      await commit(pool, batch)
      const [row] = await pool<{ count: number }[]>`
        select count(*)::integer as count from inbox where room_id = ${floodedId}`
      if (batch.parts.some(({ events }) => events.length > 0)) left.push(row!.count)
    },
  })
  for (const [roomId, eventId] of quiet) {
    await until(inboxIsEmpty(database, roomId))
    expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
  }
  await until(inboxIsEmpty(database, floodedId))
  // When the last of them was committed most of the flood was still to come.
  expect(left.length).toBeGreaterThan(0)
  expect(Math.min(...left)).toBeGreaterThan(flood / 4)
  const { laneEvents, laneBytes } = stage.engine.parts.limits
  expect(mostRows).toBeLessThanOrEqual(laneEvents)
  expect(mostBytes).toBeLessThan(20 * laneBytes)
  expect(stage.engine.counters()).toMatchObject({ dropped: flood })
})
