import { expect, test } from 'bun:test'
import { Receive } from '#engine/room/decide/receive.ts'
import { openPool } from '#store/db.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  openStage,
  store,
  stored,
  until,
  us,
} from '#test/room-engine.ts'
import { openScene, there } from './scene.ts'

const database = await testDatabase()

test('whoever asks a room whose database is away is told to come back, whatever is asked', async () => {
  const first = await openStage(database)
  const roomId = await createRoom(first)
  await first.stop()
  const pool = openPool(database.url, { max: 2 })
  await using stage = await openStage(database, [], { pool })
  await pool.end()

  const guest = us.user('guest')
  const txn = { userId: guest, deviceId: 'D', path: '/', txnId: '1' }
  const asked = [
    stage.rooms.call('send', roomId, { sender: guest, type: 't', content: '{}', txn }),
    stage.rooms.call('join', roomId, { userId: guest, content: '{}', via: [] }),
    stage.rooms.call('changeMembership', roomId, {
      sender: guest,
      target: guest,
      membership: 'leave',
      content: '{}',
    }),
    stage.rooms.call('makeJoin', roomId, there.user('bob'), ['12'], there.name),
  ]
  const told = await Promise.allSettled(asked)
  for (const each of told) expect(each).toMatchObject({ reason: { status: 503 } })
})

test('events whose look-up fails are read from the inbox again', async () => {
  await using stage = await openScene(database, { limits: { inboxPollMs: 20 } })
  const { roomId, room } = stage
  const texts = ['a', 'b'].map((body) => room.say(there.user('mallory'), body))

  const { events } = stage.engine.parts
  const byIds = events.byIds.bind(events)
  events.byIds = function* () {
    events.byIds = byIds
    yield
    throw Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' })
  }
  await deliver(
    stage,
    database,
    roomId,
    there,
    texts.map(({ text }) => text),
  )
  await until(inboxIsEmpty(database, roomId))
  for (const { event } of texts)
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.errors).toHaveLength(1)
})

test('an event whose room cannot be loaded, after a commit failed, stays in the inbox for later', async () => {
  await using stage = await openScene(database, { limits: { retryMs: 20 } })
  const { roomId, room } = stage
  const { event, text } = room.say(there.user('mallory'), 'once')
  const [row] = await store(database, roomId, there, [text])

  const lane = stage.engine.lane(roomId)
  lane.reload()
  const parts = stage.engine.parts as { loadRoom: typeof stage.engine.parts.loadRoom }
  const { loadRoom } = parts
  parts.loadRoom = () => {
    parts.loadRoom = loadRoom
    return Promise.reject(Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' }))
  }
  const work = new Receive({
    eventId: event.eventId,
    event,
    text,
    origin: there.name,
    rejection: undefined,
    inboxIds: [row!.inboxId],
  })
  await stage.engine.parts.turns.seat(false).run(lane.decide({ work, alone: false }))
  expect(stage.engine.parts.counters.postponed).toBe(1)
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
})
