import { expect, test } from 'bun:test'
import { eventFlags } from '#store/room/batch.ts'
import { testDatabase } from '#test/database.ts'
import { adopt, alice, deliver, inboxIsEmpty, setState, stored, until } from '#test/room-engine.ts'
import { mallory, openScene, there } from './scene.ts'

const database = await testDatabase()

/**
 * Spec: server-server-api/#soft-failure: "In particular, soft failed events … participate in state
 * resolution if further events are received which reference it".
 */
test('what was soft-failed becomes state if events that cite it make it so', async () => {
  await using stage = await openScene(database, { version: '11' })
  const { roomId } = stage
  const levels = (mallorys: number) =>
    setState(stage, roomId, 'm.room.power_levels', { users: { [alice]: 100, [mallory]: mallorys } })
  const deliverAll = async (...texts: string[]) => {
    await deliver(stage, database, roomId, there, texts)
    await until(inboxIsEmpty(database, roomId))
  }
  await levels(50)
  const past = await adopt(database, roomId, there)
  await levels(0)
  // On her side of the room mallory still has the power; here she has lost it.
  const topic = { topic: 'mine' }
  const theirs = past.add(mallory, 'm.room.topic', topic, { stateKey: '', ts: Date.now() + 1_000 })
  await deliverAll(theirs.text)
  const { eventId } = theirs.event
  expect(await stored(database, roomId, eventId)).toMatchObject({ flags: eventFlags.softFailed })
  const before = await adopt(database, roomId, there)
  expect(before.state.has('m.room.topic ')).toBe(false)
  expect(before.heads).not.toContain(eventId)

  await levels(50)
  const now = await adopt(database, roomId, there)
  expect(now.state.has('m.room.topic ')).toBe(false)
  // Whoever joins the two sides brings it back; it stays what it was, and is state.
  const joining = now.say(mallory, 'both sides', { prev: [...now.heads, eventId] })
  await deliverAll(joining.text)
  expect(await stored(database, roomId, joining.event.eventId)).toMatchObject({ flags: 0 })
  const after = await adopt(database, roomId, there)
  expect(after.state.get('m.room.topic ')?.eventId).toBe(eventId)
  expect(stage.errors).toEqual([])
})
