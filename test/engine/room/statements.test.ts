import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { createRoom, deliver, inboxIsEmpty, say, until } from '#test/room-engine.ts'
import { openScene, there } from './scene.ts'
import type { Lane } from '#engine/room/lane.ts'
import type { Task } from '#engine/room/task.ts'

const database = await testDatabase()

/** Goes through a task as fast as it lets. */
async function drive<T>(task: Task<T>): Promise<T> {
  for (let next = task.next(); ; next = task.next()) {
    if (next.done) return next.value
    await next.value
  }
}

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

test('what lanes ask for at once waits for no other lane, and each gets what it asked for', async () => {
  await using stage = await openScene(database)
  const { engine } = stage
  const { events } = engine.parts
  const wishes: { lane: Lane; ids: string[] }[] = []
  for (let n = 0; n < 3; n++) {
    const roomId = await createRoom(stage)
    const ids: string[] = []
    for (const body of ['one', 'two']) ids.push((await say(stage, roomId, body)).eventId)
    wishes.push({ lane: engine.lanes.get(roomId)!, ids })
  }
  await until(() => wishes.every(({ lane }) => lane.room!.uncommitted.size === 0))
  for (const { lane } of wishes) events.forgetRoom(lane.roomId)

  const asked: string[] = []
  const options = database.pool.options as { debug: unknown }
  options.debug = (_connection: number, query: string) => asked.push(query)
  // The first room asks twice, for one event each time; the last one also for an event of the first.
  const [first, second, third] = wishes
  const looks = [
    { room: first!.lane.room!, ids: [first!.ids[0]!] },
    { room: first!.lane.room!, ids: [first!.ids[1]!] },
    { room: second!.lane.room!, ids: second!.ids },
    { room: third!.lane.room!, ids: [...third!.ids, first!.ids[0]!] },
  ]
  const found = await Promise.all(
    looks.map(({ room, ids }) => drive(events.byIds(room, ids)).then((each) => [...each.keys()])),
  )
  options.debug = false
  expect(found.map((ids) => ids.sort())).toEqual([
    [first!.ids[0]!],
    [first!.ids[1]!],
    second!.ids.toSorted(),
    third!.ids.toSorted(),
  ])
  expect(asked.filter((query) => /from event_ids/.test(query))).toHaveLength(looks.length)
})
