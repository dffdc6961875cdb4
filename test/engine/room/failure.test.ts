import { expect, test } from 'bun:test'
import { commit } from '#store/room/commit.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  alice,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  store,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'

const database = await testDatabase()

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

test('an engine that starts goes on with what waits in the inbox', async () => {
  let roomId: string
  let said: { event: { eventId: string } }[]
  {
    await using stage = await openStage(database, [there])
    roomId = await createRoom(stage)
    const room = await joinFrom(stage, database, roomId, there, 'mallory')
    const made = Array.from({ length: 10 }, (_, i) => room.say(mallory, `${i}`))
    said = made
    // Durable, and then nobody is told: as if the process had died.
    await store(
      database,
      roomId,
      there,
      made.map(({ text }) => text),
    )
  }
  await using stage = await openStage(database, [there])
  await until(inboxIsEmpty(database, roomId))
  for (const { event } of said)
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.engine.parts.counters.accepted).toBe(10)
})

test('an event that fails to be stored even alone is put into quarantine, and its room goes on', async () => {
  const poison = 'poison'
  await using stage = await openStage(database, [there], {
    commit: async (pool, batch) => {
      if (batch.parts.some((part) => part.events.some(({ json }) => json.includes(poison))))
        throw Object.assign(new Error('a bad row'), { code: '22P02' })
      await commit(pool, batch)
    },
  })
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const before = room.say(mallory, 'before')
  const bad = room.say(mallory, poison)
  const side = room.say(mallory, 'beside it', { prev: [before.event.eventId], aside: true })
  const [, badId] = await deliver(
    stage,
    database,
    roomId,
    there,
    [before, bad, side].map(({ text }) => text),
  )
  const sends = Promise.all([say(stage, roomId, 'one'), say(stage, roomId, 'two')])
  await until(inboxIsEmpty(database, roomId))
  await sends
  expect(await stored(database, roomId, before.event.eventId)).toMatchObject({ flags: 0 })
  expect(await stored(database, roomId, side.event.eventId)).toMatchObject({ flags: 0 })
  expect(await stored(database, roomId, bad.event.eventId)).toBeUndefined()
  const rows = await database.pool<{ inbox_id: number; error: string }[]>`
    select inbox_id, error from inbox_quarantine where room_id = ${roomId}`
  expect([...rows]).toEqual([{ inbox_id: badId!, error: 'Error: a bad row' }])
  expect(stage.engine.parts.counters.quarantined).toBe(1)

  // A local send that cannot be stored answers 500, leaves no transaction, and may be tried again.
  const txn = { userId: alice, deviceId: 'D', path: roomId, txnId: '1' }
  const send = (body: string) =>
    stage.rooms.call('send', roomId, {
      sender: alice,
      type: 'm.room.message',
      content: JSON.stringify({ body }),
      txn,
    })
  expect(await failureOf(send(poison))).toMatchObject({ status: 500 })
  const first = await send('fine')
  expect(await send('fine')).toEqual(first)
})

test('local sends of a batch that fails are built anew, under the same transaction', async () => {
  let failing = false
  let failed = 0
  await using stage = await openStage(database, [], {
    commit: async (pool, batch) => {
      const events = batch.parts.flatMap((part) => part.events)
      // The first goes alone, and the others come together meanwhile.
      if (failing && failed === 0 && events.length === 1)
        await until(async () => stage.engine.parts.persister.pending === 7)
      if (failing && events.length > 1) {
        failed++
        throw Object.assign(new Error('a bad batch'), { code: '22P02' })
      }
      await commit(pool, batch)
    },
  })
  const roomId = await createRoom(stage)
  failing = true
  const sends = Array.from({ length: 8 }, (_, i) =>
    stage.rooms.call('send', roomId, {
      sender: alice,
      type: 'm.room.message',
      content: JSON.stringify({ body: `${i}` }),
      txn: { userId: alice, deviceId: 'D', path: roomId, txnId: `${i}` },
    }),
  )
  const landed = await Promise.all(sends)
  // Together, and the room by itself: only one by one they are taken.
  expect(failed).toBeGreaterThanOrEqual(2)
  expect(new Set(landed.map(({ eventId }) => eventId)).size).toBe(8)
  const depths = await Promise.all(
    landed.map(async ({ eventId }) => {
      const { json } = (await stored(database, roomId, eventId))!
      return (JSON.parse(json) as { depth: number }).depth
    }),
  )
  // Each cites the one before.
  const first = Math.min(...depths)
  expect(depths.sort((a, b) => a - b)).toEqual(depths.map((_, i) => first + i))
  expect((await adopt(database, roomId)).heads).toHaveLength(1)
})

test('the same transaction sent twice at once, and again later, is one event', async () => {
  await using stage = await openStage(database)
  const roomId = await createRoom(stage, '10')
  const send = (deviceId: string) =>
    stage.rooms.call('send', roomId, {
      sender: alice,
      type: 'm.room.message',
      content: '{"body":"once"}',
      txn: { userId: alice, deviceId, path: roomId, txnId: 'x' },
    })
  const [first, second] = await Promise.all([send('A'), send('A')])
  expect(second).toEqual(first)
  expect(await send('A')).toEqual(first)
  expect((await send('B')).eventId).not.toBe(first.eventId)
  await stage.stop()
  await using later = await openStage(database)
  const again = await later.rooms.call('send', roomId, {
    sender: alice,
    type: 'm.room.message',
    content: '{"body":"once"}',
    txn: { userId: alice, deviceId: 'A', path: roomId, txnId: 'x' },
  })
  expect(again).toEqual(first)
})

test('while PostgreSQL is away local sends are refused after a moment, and then go on by themselves', async () => {
  let away = false
  await using stage = await openStage(database, [], {
    limits: { awayMs: 30 },
    commit: async (pool, batch) => {
      if (away) throw Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' })
      await commit(pool, batch)
    },
  })
  const roomId = await createRoom(stage)
  away = true
  const waiting = say(stage, roomId, 'waits')
  await until(() => stage.engine.parts.persister.awayMs > 30)
  expect(await failureOf(say(stage, roomId, 'refused'))).toMatchObject({ status: 503 })
  away = false
  expect(await stored(database, roomId, (await waiting).eventId)).toMatchObject({ flags: 0 })
  await say(stage, roomId, 'again')
})

test('while the disk is full local sends are refused and say so, inbound events wait, and both go on', async () => {
  let full = false
  await using stage = await openStage(database, [there], {
    commit: async (pool, batch) => {
      if (full) throw Object.assign(new Error('no space'), { code: '53100' })
      await commit(pool, batch)
    },
  })
  const [roomId, other] = [await createRoom(stage), await createRoom(stage)]
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  full = true
  const refused = { status: 503, message: expect.stringMatching(/disk .* full/) }
  const first = [roomId, other].map((where) => failureOf(say(stage, where, 'first')))
  for (const failed of await Promise.all(first)) expect(failed).toMatchObject(refused)
  const texts = ['a', 'b'].map((body) => room.say(mallory, body))
  await deliver(
    stage,
    database,
    roomId,
    there,
    texts.map(({ text }) => text),
  )
  // Beside events that are held, and after them.
  for (const where of [roomId, other, roomId])
    expect(await failureOf(say(stage, where, 'later'))).toMatchObject(refused)
  for (const { event } of texts)
    expect(await stored(database, roomId, event.eventId)).toBeUndefined()
  full = false
  await until(inboxIsEmpty(database, roomId))
  for (const { event } of texts)
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
  for (const where of [roomId, other]) {
    const { eventId } = await say(stage, where, 'again')
    expect(await stored(database, where, eventId)).toMatchObject({ flags: 0 })
  }
})

test('when there is room again after nothing but refusals, the next send finds out', async () => {
  let full = true
  await using stage = await openStage(database, [], {
    commit: async (pool, batch) => {
      if (full) throw Object.assign(new Error('no memory'), { code: '53200' })
      await commit(pool, batch)
    },
    limits: { awayMs: 0 },
  })
  full = false
  const roomId = await createRoom(stage)
  full = true
  for (let n = 0; n < 3; n++)
    expect(await failureOf(say(stage, roomId, 'no'))).toMatchObject({ status: 503 })
  full = false
  await until(() =>
    say(stage, roomId, 'yes').then(
      () => true,
      () => false,
    ),
  )
  expect(stage.engine.parts.persister.awayMs).toBe(0)
})

test('an engine that stops leaves the rest of a flood in the inbox, without an error', async () => {
  const stage = await openStage(database, [there])
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const texts = Array.from({ length: 300 }, (_, i) => room.say(mallory, `${i}`).text)
  await deliver(stage, database, roomId, there, texts)
  await until(() => stage.engine.parts.counters.accepted > 0)
  await stage.stop()
  const { accepted } = stage.engine.parts.counters
  expect(accepted).toBeLessThan(300)
  expect(stage.errors).toEqual([])
  await using later = await openStage(database, [there])
  await until(inboxIsEmpty(database, roomId))
  // All that was decided before is there: nothing is decided twice, and nothing is lost.
  const counters = later.engine.parts.counters
  expect(accepted + counters.accepted).toBe(300)
  expect(counters.duplicates).toBe(0)
})
