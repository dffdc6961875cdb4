import { expect, test } from 'bun:test'
import type { Made } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { deliver, inboxIsEmpty, openStage, stored, until } from '#test/room-engine.ts'
import { commit } from '#store/room/commit.ts'
import { mallory, openScene, type Scene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()
const never = () => new Promise<never>(() => {})
const refuse = () => ({ status: 403, body: '{"errcode":"M_FORBIDDEN","error":"No"}' })
const hour = 3_600_000

const send = ({ roomId, ...stage }: Scene, made: readonly Made[]) =>
  deliver(
    stage,
    database,
    roomId,
    there,
    made.map(({ text }) => text),
  )

const chain = ({ room }: Scene, length: number) =>
  Array.from({ length }, (_, i) => room.say(mallory, `${i}`))

/** How many rows of the room wait for their time. */
async function putOff({ roomId }: Scene): Promise<number> {
  const [row] = await database.pool<{ count: number }[]>`
    select count(*)::int as count from inbox
    where room_id = ${roomId} and not_before > ${Date.now() + hour / 2}`
  return row!.count
}

test('what found no room in the park comes in at once when what it waits for does', async () => {
  const limits = { parkedPerRoom: 5, parkedPerOrigin: 5, retryMs: hour }
  await using stage = await openScene(database, { limits })
  stage.federation.answer = never
  const [hidden, ...rest] = chain(stage, 60) as [Made, ...Made[]]
  await send(stage, rest)
  await until(async () => (await putOff(stage)) === 54)
  await send(stage, [hidden])
  await until(inboxIsEmpty(database, stage.roomId))
  for (const { event } of [hidden, ...rest])
    expect(await stored(database, stage.roomId, event.eventId)).toMatchObject({ flags: 0 })
  // All of them for one event, and not each for the one before it.
  expect(stage.engine.counters()).toMatchObject({ woken: 54, putOffRemembered: 0, parked: 0 })
  expect(stage.errors).toEqual([])
})

test('what was looked for in vain, and comes by itself, brings what was put off', async () => {
  await using stage = await openScene(database, { limits: { retryMs: hour } })
  stage.federation.answer = refuse
  const [hidden, first, second] = chain(stage, 3) as [Made, Made, Made]
  await send(stage, [first, second])
  await until(async () => (await putOff(stage)) === 2)
  await until(() => stage.engine.counters()['parked'] === 0)
  await send(stage, [hidden])
  await until(inboxIsEmpty(database, stage.roomId))
  expect(await stored(database, stage.roomId, second.event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.engine.counters()).toMatchObject({ woken: 2, givenUp: 0, putOffRemembered: 0 })
})

test('after a restart nothing waits for its time: what it lacks may have come meanwhile', async () => {
  const scene = await openScene(database, { limits: { retryMs: hour } })
  const { roomId } = scene
  scene.federation.answer = refuse
  const [hidden, first, second] = chain(scene, 3) as [Made, Made, Made]
  await send(scene, [first, second])
  await until(async () => (await putOff(scene)) === 2)
  await scene.stop()
  await using stage = await openStage(database, [there], { limits: { retryMs: hour } })
  stage.federation.answer = never
  await until(() => stage.engine.counters()['parked'] === 2)
  await send({ ...scene, ...stage }, [hidden])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, second.event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.engine.counters()).toMatchObject({ givenUp: 0, postponed: 0 })
})

test('what comes while a row is being put off wakes it all the same', async () => {
  await using stage = await openScene(database, { limits: { parkedPerRoom: 0, retryMs: hour } })
  stage.federation.answer = never
  const made = chain(stage, 20)
  // All lack the last, which comes in the same breath.
  await send(stage, [...made.slice(1), made[0]!])
  await until(inboxIsEmpty(database, stage.roomId))
  expect(await stored(database, stage.roomId, made.at(-1)!.event.eventId)).toMatchObject({
    flags: 0,
  })
})

test('what waits for two events waits until both are there', async () => {
  const limits = { parkedPerRoom: 0, retryMs: hour }
  await using stage = await openScene(database, { limits })
  const { roomId, room } = stage
  stage.federation.answer = never
  const [one, two] = [1, 2].map((i) => room.say(mallory, `${i}`, { aside: true })) as [Made, Made]
  const both = room.say(mallory, 'on both', { prev: [one.event.eventId, two.event.eventId] })
  await send(stage, [both])
  await until(async () => (await putOff(stage)) === 1)
  await send(stage, [one])
  await until(async () => (await stored(database, roomId, one.event.eventId)) !== undefined)
  expect([await putOff(stage), stage.engine.counters()['woken']]).toEqual([1, 0])
  await send(stage, [two])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, both.event.eventId)).toMatchObject({ flags: 0 })
})

test('what is remembered of rows that were put off is bounded, and given back when they are dropped', async () => {
  const limits = { parkedPerRoom: 0, putOffPerRoom: 10, retryMs: hour, keepDeferredMs: 2 * hour }
  let now = Date.now()
  await using stage = await openScene(database, { limits, now: () => now })
  stage.federation.answer = never
  const [, ...made] = chain(stage, 31) as [Made, ...Made[]]
  await send(stage, made)
  await until(async () => (await putOff(stage)) === 30)
  // A server alone does not fill it.
  expect(stage.engine.counters()).toMatchObject({ notParked: 30, putOffRemembered: 5 })
  now += 3 * hour
  stage.engine.lane(stage.roomId).inbound.wake()
  await until(inboxIsEmpty(database, stage.roomId))
  await until(() => stage.engine.counters()['givenUp'] === 30)
  expect(stage.engine.counters()).toMatchObject({ putOffRemembered: 0 })
})

test('a lane that never comes to rest asks for what its parked events lack', async () => {
  let now = Date.now()
  let gate = Promise.resolve()
  const limits = { prepare: 1, decidedAhead: 1 }
  await using stage = await openScene(database, {
    limits,
    now: () => now,
    commit: async (pool, batch) => {
      await gate
      await commit(pool, batch)
    },
  })
  const { room } = stage
  const gates = Array.from({ length: 8 }, () => Promise.withResolvers<void>())
  const hidden = room.say(mallory, 'never sent', { aside: true })
  const dangling = room.say(mallory, 'cites it', { prev: [hidden.event.eventId], aside: true })
  const others = Array.from({ length: 6 }, (_, i) => room.say(mallory, `${i}`))
  gate = gates[0]!.promise
  await send(stage, [dangling, ...others])
  const { inbound } = stage.engine.lane(stage.roomId)
  await until(
    () => stage.engine.counters()['parked'] === 1 && stage.engine.parts.persister.pending > 0,
  )
  expect([inbound.running, stage.federation.requests.length]).toEqual([true, 0])
  now += 3_000
  gate = gates[1]!.promise
  gates[0]!.resolve()
  await until(() => stage.federation.requests.length > 0)
  expect(inbound.running).toBe(true)
  gate = Promise.resolve()
  for (const { resolve } of gates) resolve()
})
