import { expect, test } from 'bun:test'
import { MadeUpServer } from '#test/builders.ts'
import { shardOf } from '#core/shard.ts'
import { commit } from '#store/room/commit.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, openScene, other, there } from './scene.ts'

const database = await testDatabase()
const never = () => new Promise<never>(() => {})

test('a peer that cites an unknown event and never answers holds up nobody in its room', async () => {
  await using stage = await openStage(database, [there, other])
  const roomId = await createRoom(stage)
  await joinFrom(stage, database, roomId, other, 'eve')
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const others = await adopt(database, roomId, other)
  stage.federation.answer = never
  const hidden = room.say(mallory, 'never sent')
  const dangling = room.say(mallory, 'cites it')
  await deliver(stage, database, roomId, there, [dangling.text])
  await until(() => stage.federation.requests.length > 0)

  // A local send in the same room is answered, and later valid events of the room appear.
  const { eventId } = await say(stage, roomId, 'we go on')
  expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
  const valid = others.say(other.user('eve'), 'so do we')
  await deliver(stage, database, roomId, other, [valid.text])
  await until(async () => (await stored(database, roomId, valid.event.eventId)) !== undefined)
  expect(await stored(database, roomId, dangling.event.eventId)).toBeUndefined()
  expect(stage.engine.counters()['parked']).toBe(1)

  // What it lacked comes after all: both are there, in the order of the graph.
  await deliver(stage, database, roomId, there, [hidden.text])
  await until(async () => (await stored(database, roomId, dangling.event.eventId)) !== undefined)
  const [first, second] = await Promise.all(
    [hidden, dangling].map(({ event }) => stored(database, roomId, event.eventId)),
  )
  expect(first!.position!).toBeLessThan(second!.position!)
  await until(inboxIsEmpty(database, roomId))
  expect(stage.errors).toEqual([])
})

test('in a lane at rest readers see what was missing first, and then all that waited for it', async () => {
  await using stage = await openScene(database)
  const { roomId, room, engine } = stage
  stage.federation.answer = never
  const [missing, ...waiting] = Array.from({ length: 60 }, (_, i) => room.say(mallory, `${i}`))
  await deliver(
    stage,
    database,
    roomId,
    there,
    waiting.map(({ text }) => text),
  )
  await until(() => engine.counters()['parked'] === waiting.length)
  const { commits } = engine.counters()
  await deliver(stage, database, roomId, there, [missing!.text])
  await until(inboxIsEmpty(database, roomId))
  const at = (await stored(database, roomId, missing!.event.eventId))!.position!
  const told = stage.signals.flatMap((signal) => (signal.s === 'rooms-at' ? signal.positions : []))
  expect(told).toContainEqual([shardOf(roomId), at])
  // Only the first of them waits for a commit, and not each for the one before it.
  expect(engine.counters()['commits']! - commits!).toBeLessThan(waiting.length / 2)
  // While it was committed nobody was asked for it again.
  expect(stage.federation.requests.length).toBe(1)
  expect(stage.errors).toEqual([])
})

test('if what was missing cannot be stored, others are asked for it on behalf of what waits', async () => {
  let failures = 0
  await using stage = await openScene(database, {
    commit: async (pool, batch) => {
      if (failures-- > 0) throw new Error('not this one')
      await commit(pool, batch)
    },
  })
  const { roomId, room, engine, federation } = stage
  federation.answer = never
  const [missing, waiting] = ['1', '2'].map((body) => room.say(mallory, body))
  // In its batch and alone.
  failures = 2
  await deliver(stage, database, roomId, there, [waiting!.text, missing!.text])
  await until(() => federation.requests.length > 0)
  expect(engine.counters()).toMatchObject({ quarantined: 1, parked: 1 })
  // It comes by itself.
  await deliver(stage, database, roomId, there, [missing!.text])
  await until(async () => (await stored(database, roomId, waiting!.event.eventId)) !== undefined)
  await until(inboxIsEmpty(database, roomId))
})

test('a server whose keys cannot be had holds up nobody, and its events come in when they can', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  // A fresh engine knows no keys.
  await stage.stop()
  await using later = await openStage(database, [there, other])
  const gate = Promise.withResolvers<void>()
  later.federation.keysGate = gate.promise
  const said = room.say(mallory, 'signed by a key that nobody knows yet')
  await deliver(later, database, roomId, there, [said.text])
  await until(() => later.federation.askedKeys.length > 0)
  await say(later, roomId, 'we go on')
  expect(await stored(database, roomId, said.event.eventId)).toBeUndefined()
  gate.resolve()
  await until(async () => (await stored(database, roomId, said.event.eventId)) !== undefined)
  expect(later.engine.parts.counters.parkedForKeys).toBe(1)
})

test('an event whose keys never come goes back to the inbox, and after its last attempt is dropped', async () => {
  const unknown = new MadeUpServer('unknown.test')
  await using stage = await openStage(database, [there], {
    limits: { attempts: 3, retryMs: 5, inboxPollMs: 5, keysMs: 20 },
  })
  const roomId = await createRoom(stage)
  const room = await adopt(database, roomId, unknown)
  const said = room.say(unknown.user('x'), 'who am I?')
  await deliver(stage, database, roomId, unknown, [said.text])
  await until(inboxIsEmpty(database, roomId))
  const { givenUp, postponed } = stage.engine.parts.counters
  expect([givenUp, postponed]).toEqual([1, 3])
  expect(await stored(database, roomId, said.event.eventId)).toBeUndefined()
})

test('a flood of events that lack something is bounded in memory, and stays in the inbox', async () => {
  await using stage = await openScene(database, {
    limits: { parkedPerRoom: 10, parkedPerOrigin: 8, retryMs: 60_000 },
  })
  const { roomId, room } = stage
  stage.federation.answer = never
  const texts = Array.from({ length: 40 }, (_, i) => {
    const hidden = room.say(mallory, `hidden ${i}`, { aside: true })
    return room.say(mallory, `dangling ${i}`, { prev: [hidden.event.eventId], aside: true }).text
  })
  await deliver(stage, database, roomId, there, texts)
  await until(() => stage.engine.parts.counters.notParked === 32)
  expect(stage.engine.counters()['parked']).toBe(8)
  await say(stage, roomId, 'we go on')
  const [row] = await database.pool<{ count: number }[]>`
    select count(*)::int as count from inbox where room_id = ${roomId}`
  expect(row!.count).toBe(40)
})

test('what finds no room in the park is not dropped for that, however often it comes back', async () => {
  await using stage = await openScene(database, {
    limits: { parkedPerRoom: 10, parkedPerOrigin: 1, retryMs: 2, inboxPollMs: 2, attempts: 6 },
  })
  const { roomId, room } = stage
  stage.federation.answer = never
  const pairs = Array.from({ length: 2 }, (_, i) => {
    const hidden = room.say(mallory, `hidden ${i}`, { aside: true })
    const prev = [hidden.event.eventId]
    return { hidden, dangling: room.say(mallory, `dangling ${i}`, { prev, aside: true }) }
  })
  const deliverAll = (texts: string[]) => deliver(stage, database, roomId, there, texts)
  await deliverAll(pairs.map(({ dangling }) => dangling.text))
  const { counters } = stage.engine.parts
  // More than the attempts that a row has; the pauses grow with its age.
  await until(() => counters.notParked > 8)
  expect(counters.givenUp).toBe(0)
  await deliverAll(pairs.map(({ hidden }) => hidden.text))
  await until(inboxIsEmpty(database, roomId))
  for (const { dangling } of pairs)
    expect(await stored(database, roomId, dangling.event.eventId)).toMatchObject({ flags: 0 })
  expect(counters.givenUp).toBe(0)
})
