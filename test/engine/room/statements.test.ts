import { expect, test } from 'bun:test'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { createRoom, deliver, inboxIsEmpty, joinFrom, openStage, until } from '#test/room-engine.ts'

const database = await testDatabase()
const there = new MadeUpServer('there.test')

test('events that arrive together are looked up together, not one by one', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const texts = Array.from({ length: 100 }, (_, n) => room.say(there.user('mallory'), `${n}`).text)

  const asked: string[] = []
  const options = database.pool.options as { debug: unknown }
  options.debug = (_connection: number, query: string) => asked.push(query)
  await deliver(stage, database, roomId, there, texts)
  await until(() => stage.engine.counters()['accepted'] === 100)
  await until(inboxIsEmpty(database, roomId))
  options.debug = false

  const lookUps = asked.filter((query) => /select[^]*from event_ids/.test(query))
  expect(lookUps.length).toBeGreaterThan(0)
  expect(lookUps.length).toBeLessThan(10)
})
