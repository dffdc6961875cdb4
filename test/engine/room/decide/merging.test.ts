import { expect, test } from 'bun:test'
import { resolve } from '#core/state-res/resolve.ts'
import type { Parts } from '#engine/room/parts.ts'
import type { Landed } from '#engine/worker/protocol.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  setState,
  type Stage,
  stored,
  until,
} from '#test/room-engine.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()

/** Resolutions that end when a test lets them: `wait` is asked between their steps, with the number of the run. */
class Rival {
  readonly resolve: Parts['resolve'] = (version, resolution) => this.#run(version, resolution)
  runs = 0
  wait: (run: number) => boolean = () => false
  begin: (run: number) => void = () => {};

  *#run(...args: Parameters<Parts['resolve']>): ReturnType<Parts['resolve']> {
    const run = ++this.runs
    this.begin(run)
    while (this.wait(run)) yield
    return yield* resolve(...args)
  }
}

/** Sends whose end a test can look at. */
class Sends {
  sent = 0
  readonly landed: Landed[] = []

  start(send: Promise<Landed>): Promise<void> {
    this.sent++
    return send.then((landed) => void this.landed.push(landed))
  }

  get open(): number {
    return this.sent - this.landed.length
  }
}

/** A room with an event of another server that forks off before the topic, not yet delivered. */
async function forked(stage: Stage) {
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const theirs = room.say(mallory, 'from before the topic')
  await setState(stage, roomId, 'm.room.topic', { topic: 'ours' })
  const holds = () => stage.engine.lane(roomId).room!.holds
  return { roomId, theirs, holds }
}

const topic = (stage: Stage, roomId: string, text: string) =>
  setState(stage, roomId, 'm.room.topic', { topic: text })

test('a merge that every change of the state overtakes gets done: after a few times such changes wait for it', async () => {
  const rival = new Rival()
  await using stage = await openStage(database, [there], { resolve: rival.resolve })
  const { roomId, theirs, holds } = await forked(stage)
  const sends = new Sends()
  const sending: Promise<void>[] = []
  // Whatever is resolved, the state changes before it is done, unless that is kept out.
  rival.begin = (run) => void sending.push(sends.start(topic(stage, roomId, `${run}`)))
  rival.wait = () => sends.open > 0 && !holds().state.on
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(inboxIsEmpty(database, roomId))
  await Promise.all(sending)

  expect(await stored(database, roomId, theirs.event.eventId)).toMatchObject({ flags: 0 })
  expect(rival.runs).toBe(5)
  expect(sends.landed).toHaveLength(5)
  const now = await adopt(database, roomId, there)
  expect(now.state.get('m.room.topic ')?.content).toEqual({ topic: '5' })
  expect(holds().state.on || holds().local.on).toBe(false)
  expect(stage.errors).toEqual([])
})

test('a message does not wait while a resolution has the room to itself', async () => {
  const rival = new Rival()
  await using stage = await openStage(database, [there], { resolve: rival.resolve })
  const { roomId, theirs, holds } = await forked(stage)
  const sends = new Sends()
  const sending: Promise<void>[] = []
  let go = false
  rival.begin = (run) => void sending.push(sends.start(topic(stage, roomId, `${run}`)))
  rival.wait = () => sends.open > 0 && !(holds().state.on && go)
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(() => rival.runs > 0 && holds().state.on && sends.open === 1)

  const said = await say(stage, roomId, 'at once')
  expect(await stored(database, roomId, said.eventId)).toMatchObject({ flags: 0 })
  expect(sends.open).toBe(1)
  expect(await stored(database, roomId, theirs.event.eventId)).toBeUndefined()
  go = true
  await Promise.all(sending)
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, theirs.event.eventId)).toMatchObject({ flags: 0 })
})

test('a change of the state waits no longer than it may: then the merge is given up, and done later', async () => {
  const rival = new Rival()
  let now = Date.now()
  await using stage = await openStage(database, [there], {
    resolve: rival.resolve,
    limits: { holdMs: 100, retryMs: 60_000 },
    now: () => now,
  })
  const { roomId, theirs } = await forked(stage)
  const sends = new Sends()
  const sending: Promise<void>[] = []
  // Every resolution takes longer than anybody waits.
  rival.begin = (run) => void sending.push(sends.start(topic(stage, roomId, `${run}`)))
  rival.wait = () => sends.open > 0
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(() => stage.engine.parts.counters.postponed === 1)
  await Promise.all(sending)
  expect(sends.open).toBe(0)
  expect(await stored(database, roomId, theirs.event.eventId)).toBeUndefined()
  expect(stage.errors).toHaveLength(1)

  rival.begin = () => {}
  now += 60_000
  await until(async () => {
    stage.engine.lane(roomId).inbound.wake()
    return inboxIsEmpty(database, roomId)()
  })
  expect(await stored(database, roomId, theirs.event.eventId)).toMatchObject({ flags: 0 })
})

test('messages that come in between are no reason to resolve again', async () => {
  const rival = new Rival()
  await using stage = await openStage(database, [there], { resolve: rival.resolve })
  const { roomId, theirs } = await forked(stage)
  const sends = new Sends()
  rival.begin = () =>
    void Array.from({ length: 5 }, (_, i) => sends.start(say(stage, roomId, `${i}`)))
  rival.wait = () => sends.open > 0
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(inboxIsEmpty(database, roomId))
  expect([rival.runs, sends.landed.length]).toEqual([1, 5])
  expect(stage.engine.parts.counters.mergesRepeated).toBeGreaterThan(0)
  expect((await adopt(database, roomId, there)).heads).toHaveLength(2)
})

test('in a constant stream of local events forks of another server are merged, one after the other', async () => {
  const rival = new Rival()
  await using stage = await openScene(database, { resolve: rival.resolve })
  const { roomId, room } = stage
  const forks = Array.from({ length: 4 }, (_, i) => room.say(mallory, `${i}`, { prev: room.heads }))
  await topic(stage, roomId, 'ours')
  const steps = new Map<number, number>()
  rival.wait = (run) => {
    steps.set(run, (steps.get(run) ?? 0) + 1)
    return steps.get(run)! < 40
  }
  let done = false
  const stream = async (send: (i: number) => Promise<Landed>) => {
    for (let i = 0; !done; i++) await send(i)
  }
  const streams = [
    stream((i) => topic(stage, roomId, `${i}`)),
    stream((i) => setState(stage, roomId, 'test.other', { i })),
    stream((i) => say(stage, roomId, `${i}`)),
  ]
  await deliver(
    stage,
    database,
    roomId,
    there,
    forks.map(({ text }) => text),
  )
  await until(inboxIsEmpty(database, roomId))
  done = true
  await Promise.all(streams)
  for (const { event } of forks)
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
  expect(stage.errors).toEqual([])
})

test('while a local event that was overtaken too often is built, events of other servers wait', async () => {
  await using stage = await openStage(database, [there])
  const { roomId, theirs, holds } = await forked(stage)
  holds().inbound.start(60_000)
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(() => stage.engine.lane(roomId).inbound.running)
  await say(stage, roomId, 'ahead')
  expect(await stored(database, roomId, theirs.event.eventId)).toBeUndefined()
  holds().inbound.end()
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, theirs.event.eventId)).toMatchObject({ flags: 0 })
})
