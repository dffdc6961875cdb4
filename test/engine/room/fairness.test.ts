import { expect, test } from 'bun:test'
import { resolve } from '#core/state-res/resolve.ts'
import type { Parts } from '#engine/room/parts.ts'
import { testDatabase } from '#test/database.ts'
import {
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  setState,
  store,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, there } from './scene.ts'

const database = await testDatabase()

/** A resolution that takes as long as a test wants, in steps as the core takes them. */
class Slow {
  running = 0
  #gate = Promise.withResolvers<void>()
  #open = false

  readonly resolve: Parts['resolve'] = (version, resolution) => this.#run(version, resolution)

  finish(): void {
    this.#open = true
    this.#gate.resolve()
  }

  *#run(...args: Parameters<Parts['resolve']>): ReturnType<Parts['resolve']> {
    this.running++
    while (!this.#open) {
      const until = performance.now() + 1
      while (performance.now() < until);
      yield
    }
    this.running--
    return yield* resolve(...args)
  }
}

/** Two sides of a room that must be resolved: ours is there, theirs is returned. */
async function fork(stage: Parameters<typeof say>[0], roomId: string) {
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const theirs = room.say(mallory, 'from before the topic')
  await setState(stage, roomId, 'm.room.topic', { topic: 'ours' })
  return { room, theirs }
}

test('while a resolution runs in one room, another room of the same worker goes on', async () => {
  const slow = new Slow()
  await using stage = await openStage(database, [there], { resolve: slow.resolve })
  const [heavy, light] = [await createRoom(stage), await createRoom(stage)]
  const { theirs } = await fork(stage, heavy)
  const others = await joinFrom(stage, database, light, there, 'mallory')
  await deliver(stage, database, heavy, there, [theirs.text])
  await until(() => slow.running === 1)

  const said = Array.from({ length: 40 }, (_, i) => others.say(mallory, `${i}`))
  await deliver(
    stage,
    database,
    light,
    there,
    said.map(({ text }) => text),
  )
  await until(inboxIsEmpty(database, light))
  for (const { event } of said) expect(await stored(database, light, event.eventId)).toBeDefined()
  expect(await stored(database, heavy, theirs.event.eventId)).toBeUndefined()
  expect(slow.running).toBe(1)

  slow.finish()
  await until(inboxIsEmpty(database, heavy))
  expect(await stored(database, heavy, theirs.event.eventId)).toMatchObject({ flags: 0 })
})

test('a local send does not wait for a resolution in its own room, nor does a change of its state', async () => {
  const slow = new Slow()
  await using stage = await openStage(database, [there], { resolve: slow.resolve })
  const roomId = await createRoom(stage)
  const { theirs } = await fork(stage, roomId)
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(() => slow.running === 1)

  const message = await say(stage, roomId, 'at once')
  const topic = await setState(stage, roomId, 'm.room.topic', { topic: 'newer' })
  expect(await stored(database, roomId, message.eventId)).toMatchObject({ flags: 0 })
  expect(await stored(database, roomId, topic.eventId)).toMatchObject({ flags: 0 })
  expect(slow.running).toBe(1)

  slow.finish()
  await until(inboxIsEmpty(database, roomId))
  // What was merged meanwhile is merged again, and counts.
  const state = await database.pool<{ json: string }[]>`
    select j.json from rooms r
    join current_state s on s.shard = r.shard and s.room_nid = r.room_nid
      and s.generation = r.generation
    join event_json j on j.shard = s.shard and j.event_nid = s.event_nid
    where r.room_id = ${roomId} and j.json like '%"newer"%'`
  expect(state).toHaveLength(1)
  expect(stage.engine.parts.counters.mergesRepeated).toBeGreaterThan(0)
  expect(stage.errors).toEqual([])
})

test('a flood in one room does not keep back the single event of another', async () => {
  await using stage = await openStage(database, [there])
  const [flooded, quiet] = [await createRoom(stage), await createRoom(stage)]
  const flood = await joinFrom(stage, database, flooded, there, 'mallory')
  const others = await joinFrom(stage, database, quiet, there, 'mallory')
  const many = Array.from({ length: 600 }, (_, i) => flood.say(mallory, `${i}`))
  const one = others.say(mallory, 'one')
  const single = await store(database, quiet, there, [one.text])
  await deliver(
    stage,
    database,
    flooded,
    there,
    many.map(({ text }) => text),
  )
  const { counters, persister } = stage.engine.parts
  await until(() => counters.accepted > 20)
  /** How far the flood was when the single event was decided. */
  let before: number | undefined
  const add = persister.add.bind(persister)
  persister.add = (decided) => {
    if (decided.room === stage.engine.lane(quiet)) before = counters.accepted
    add(decided)
  }
  await stage.rooms.call('receive', quiet, single)
  await until(() => before !== undefined)
  expect(before).toBeLessThan(600)
  await until(inboxIsEmpty(database, flooded))
  await until(inboxIsEmpty(database, quiet))
  expect(stage.engine.parts.counters.accepted).toBe(601)
})
