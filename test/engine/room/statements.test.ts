import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { deliver, inboxIsEmpty, until } from '#test/room-engine.ts'
import { openScene, there } from './scene.ts'

const database = await testDatabase()

test('events that arrive together are looked up together, not one by one', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
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
