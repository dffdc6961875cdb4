import { expect, test } from 'bun:test'
import { redactedText } from '#core/event/hash.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  alice,
  deliver,
  inboxIsEmpty,
  say,
  setState,
  store,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()

test.each(['1', '2', '3', '6', '8', '10', '11', '12'])(
  'in a room of version %s events of another server are decided and persisted in order',
  async (version) => {
    await using stage = await openScene(database, { version })
    const { roomId, room } = stage
    const said = Array.from({ length: 20 }, (_, i) => room.say(mallory, `hello ${i}`))
    await deliver(
      stage,
      database,
      roomId,
      there,
      said.map(({ text }) => text),
    )
    await until(inboxIsEmpty(database, roomId))
    const rows = await Promise.all(said.map(({ event }) => stored(database, roomId, event.eventId)))
    const positions = rows.map((row) => row!.position!)
    expect(rows.map((row) => row!.flags)).toEqual(said.map(() => 0))
    expect(positions).toEqual(positions.toSorted((a, b) => a - b))
    expect(stage.engine.parts.counters.accepted).toBe(20)
    // They came in the order of the graph: none had to wait beside the lane for another.
    expect(stage.engine.parts.counters.parkedForEvents).toBe(0)
    // The next event of ours cites the last of theirs.
    const { eventId } = await say(stage, roomId, 'welcome')
    const { json } = (await stored(database, roomId, eventId))!
    expect(json).toContain(said.at(-1)!.event.eventId)
    expect(stage.errors).toEqual([])
  },
)

test('events that come in any order, and twice, are persisted once, parents first', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  const said = Array.from({ length: 30 }, (_, i) => room.say(mallory, `hello ${i}`))
  const texts = said.map(({ text }) => text)
  const shuffled = [...texts, ...texts].sort((a, b) => Bun.hash.crc32(a) - Bun.hash.crc32(b))
  await deliver(stage, database, roomId, there, shuffled)
  await until(inboxIsEmpty(database, roomId))
  const rows = await Promise.all(said.map(({ event }) => stored(database, roomId, event.eventId)))
  const positions = rows.map((row) => row!.position!)
  expect(positions).toEqual(positions.toSorted((a, b) => a - b))
  const { accepted, missingRequests } = stage.engine.parts.counters
  expect([accepted, missingRequests]).toEqual([30, 0])
  expect(stage.errors).toEqual([])
})

test('an event that the room does not allow is rejected, and is neither shown nor cited', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  const bad = room.add(mallory, 'm.room.name', { name: 'mine' }, { stateKey: '' })
  const child = room.say(mallory, 'after it')
  await deliver(stage, database, roomId, there, [bad.text, child.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, bad.event.eventId)).toMatchObject({
    flags: 1,
    position: null,
    chain: null,
  })
  expect(await stored(database, roomId, child.event.eventId)).toMatchObject({ flags: 0 })
  const now = await adopt(database, roomId, there)
  expect(now.state.has('m.room.name ')).toBe(false)
  expect(now.heads).toEqual([child.event.eventId])
})

test('an event that only the past allows is soft-failed: kept, not shown, not cited', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  const evasion = room.say(mallory, 'as if I were not banned')
  await stage.rooms.call('changeMembership', roomId, {
    sender: alice,
    target: mallory,
    membership: 'ban',
    content: '{"reason":"no"}',
  })
  await deliver(stage, database, roomId, there, [evasion.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, evasion.event.eventId)).toMatchObject({
    flags: 2,
    position: null,
  })
  expect((await adopt(database, roomId, there)).heads).not.toContain(evasion.event.eventId)
})

test('a fork is merged: both sides count, and the next event of ours cites both', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  const theirs = room.say(mallory, 'on my side')
  const ours = await say(stage, roomId, 'on ours')
  await setState(stage, roomId, 'm.room.topic', { topic: 'ours' })
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(inboxIsEmpty(database, roomId))
  const merged = await adopt(database, roomId, there)
  expect(merged.heads).toHaveLength(2)
  expect(merged.state.get('m.room.topic ')?.content).toEqual({ topic: 'ours' })
  const { eventId } = await say(stage, roomId, 'together')
  expect((await adopt(database, roomId, there)).heads).toEqual([eventId])
  expect(stage.engine.parts.counters.resolutions).toBeGreaterThan(0)
  expect(ours.position).toBeGreaterThan(0)
  expect(stage.errors).toEqual([])
})

test('what comes in while the inbox is read is not passed over', async () => {
  await using stage = await openScene(database, { limits: { laneEvents: 5, prepare: 3 } })
  const { roomId, room } = stage
  for (let round = 0; round < 60; round++) {
    const texts = Array.from({ length: 7 }, (_, i) => room.say(mallory, `${round} ${i}`).text)
    await deliver(stage, database, roomId, there, texts)
  }
  await until(inboxIsEmpty(database, roomId))
  const { accepted, postponed, missingRequests } = stage.engine.parts.counters
  expect([accepted, postponed, missingRequests]).toEqual([420, 0, 0])
})

test('what comes while the inbox is read waits behind what is read', async () => {
  const limits = { laneEvents: 20, prepare: 10 }
  await using stage = await openScene(database, { limits })
  const { roomId, room } = stage
  const said = Array.from({ length: 600 }, (_, i) => room.say(mallory, `${i}`).text)
  // One transaction after another, as fast as they are taken: more than is held in memory.
  for (let from = 0; from < said.length; from += 10)
    await deliver(stage, database, roomId, there, said.slice(from, from + 10))
  await until(inboxIsEmpty(database, roomId))
  const { accepted, parkedForEvents, notParked } = stage.engine.parts.counters
  expect({ accepted, parkedForEvents, notParked }).toEqual({
    accepted: 600,
    parkedForEvents: 0,
    notParked: 0,
  })
})

test('what the intake has checked is not worked out again, but for the signature', async () => {
  await using stage = await openScene(database, { version: '11' })
  const { roomId, room } = stage
  const good = room.say(mallory, 'good')
  const other = room.say(mallory, 'checked by the rules of another version')
  const forged = room.say(mallory, 'forged', { signedBy: new MadeUpServer('elsewhere.test') })
  const rows = await store(
    database,
    roomId,
    there,
    [good, other, forged].map(({ text }) => text),
  )
  const signedOf = ({ event }: typeof good) => redactedText(event.version, event.pdu)!
  const entries = [
    { version: '11', eventId: good.event.eventId, signed: signedOf(good) },
    // Were it believed, this would be the event's ID.
    { version: '10', eventId: good.event.eventId, signed: 'nonsense' },
    { version: '11', eventId: forged.event.eventId, signed: signedOf(forged) },
  ]
  await stage.rooms.call(
    'receive',
    roomId,
    rows.map((row, index) => ({ ...row, checked: entries[index]! })),
  )
  await until(inboxIsEmpty(database, roomId))
  for (const { event, text } of [good, other])
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0, json: text })
  expect(await stored(database, roomId, forged.event.eventId)).toBeUndefined()
  expect(stage.engine.parts.counters).toMatchObject({ accepted: 2, dropped: 1, redacted: 0 })
  expect(stage.errors).toEqual([])
})
