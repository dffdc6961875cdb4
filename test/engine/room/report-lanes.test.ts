import { expect, test } from 'bun:test'
import type { Parts } from '#engine/room/parts.ts'
import { reportLanes } from '#engine/room/report-lanes.ts'
import { resolve } from '#core/state-res/resolve.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  setState,
  type Stage,
  until,
} from '#test/room-engine.ts'
import { there } from './scene.ts'

const database = await testDatabase()
const carol = there.user('carol')

/** What a lane is said to wait for, without the times. */
const waitsOf = ({ engine }: Stage, roomId: string) =>
  reportLanes(engine, { longest: 10, rooms: [] })
    .find((lane) => lane.roomId === roomId)
    ?.waits.map(({ what, server, count }) => ({ what, server, count })) ?? []

test('a lane in which nothing waits is not told of', async () => {
  await using stage = await openStage(database)
  const roomId = await createRoom(stage)
  await say(stage, roomId, 'hello')
  await until(() => stage.engine.lane(roomId).idle)
  expect(reportLanes(stage.engine, { longest: 10, rooms: [roomId] })).toEqual([])
})

test('a lane whose events lack others is said to wait for the server that is asked', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'carol')
  const gate = Promise.withResolvers<{ status: number; body: string }>()
  stage.federation.answer = () => gate.promise
  const [, second] = [room.say(carol, 'hidden'), room.say(carol, 'sent')]
  await deliver(stage, database, roomId, there, [second.text])
  const wait = { what: 'missing_events', server: there.name, count: 1 } as const
  await until(() => waitsOf(stage, roomId).some(({ count }) => count === 1))
  expect(waitsOf(stage, roomId)).toContainEqual(wait)
  const [lane] = reportLanes(stage.engine, { longest: 10, rooms: [] })
  expect(lane).toMatchObject({ roomId, inbound: 1, parked: 1, local: 0 })
  gate.resolve({ status: 403, body: '{"errcode":"M_FORBIDDEN"}' })
  await until(() => !waitsOf(stage, roomId).some(({ what }) => what === 'missing_events'))
})

test('a lane whose events are signed with unknown keys is said to wait for those of their server', async () => {
  const stranger = new MadeUpServer('stranger.test')
  await using stage = await openStage(database, [there, stranger])
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'carol')
  const gate = Promise.withResolvers<void>()
  stage.federation.keysGate = gate.promise
  const content = { msgtype: 'm.text', body: 'who am I?' }
  const dave = stranger.user('dave')
  const made = room.make(dave, 'm.room.message', content, { signedBy: stranger })
  await deliver(stage, database, roomId, stranger, [made.text])
  await until(() => waitsOf(stage, roomId).some(({ what }) => what === 'keys'))
  expect(waitsOf(stage, roomId)).toEqual([
    { what: 'keys', server: stranger.name, count: undefined },
  ])
  gate.resolve()
  await until(inboxIsEmpty(database, roomId))
  await until(() => waitsOf(stage, roomId).length === 0)
})

test('a lane in which states are resolved is said to be at it', async () => {
  let open = false
  const slowly: Parts['resolve'] = function* (version, resolution) {
    while (!open) yield
    return yield* resolve(version, resolution)
  }
  await using stage = await openStage(database, [there], { resolve: slowly })
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'carol')
  const theirs = room.say(carol, 'from before the topic')
  await setState(stage, roomId, 'm.room.topic', { topic: 'ours' })
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(() => waitsOf(stage, roomId).some(({ what }) => what === 'state_resolution'))
  open = true
  await until(inboxIsEmpty(database, roomId))
  await until(() => waitsOf(stage, roomId).length === 0)
})

test('the longest lanes come first, and only so many of them', async () => {
  await using stage = await openStage(database, [there])
  stage.federation.answer = () => new Promise(() => {})
  const rooms: string[] = []
  for (const count of [1, 3, 2]) {
    const roomId = await createRoom(stage)
    rooms.push(roomId)
    const room = await joinFrom(stage, database, roomId, there, 'carol')
    room.say(carol, 'hidden')
    const texts = Array.from({ length: count }, (_, n) => room.say(carol, `${n}`).text)
    await deliver(stage, database, roomId, there, texts)
    await until(() => stage.engine.lane(roomId).inbound.park.size === count)
  }
  const ids = (wanted: Parameters<typeof reportLanes>[1]) =>
    reportLanes(stage.engine, wanted).map(({ roomId }) => roomId)
  expect(ids({ longest: 2, rooms: [] })).toEqual([rooms[1]!, rooms[2]!])
  expect(ids({ longest: 1, rooms: [rooms[0]!] })).toEqual([rooms[1]!, rooms[0]!])
})
