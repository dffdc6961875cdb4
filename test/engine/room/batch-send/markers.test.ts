import { expect, test } from 'bun:test'
import { batchType, historicalFlag, insertionType, markerType } from '#core/content/msc2716.ts'
import type { JsonObject } from '#core/json.ts'
import type { Made, MadeUpRoom } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { readingOrder } from '#test/engine/room/reading-order.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'
import { Told } from '#test/engine/room/told.ts'
import { deliver, inboxIsEmpty, say, until } from '#test/room-engine.ts'

/** Another server puts history into a room, by the rules or not, and says so. */
const database = await testDatabase()
const idOf = ({ event }: Made) => event.eventId
const silent = { status: 500, body: { errcode: 'M_UNKNOWN', error: 'No' } }
const version = 'org.matrix.msc2716v4'
const eve = there.user('eve')

async function scene(history = true, now = Date.now) {
  const wish = { powerLevelOverride: { historical: 0, state_default: 0 } }
  const stage = await openScene(database, { version, wish, history, now })
  const { room, roomId } = stage
  const told = new Told(room)
  const before = room.say(mallory, 'before')
  const after = room.say(mallory, 'after')
  stage.federation.answer = told.answer
  const receive = async (...made: Made[]) => {
    const texts = made.map(({ text }) => text)
    await deliver(stage, database, roomId, there, texts)
    await until(inboxIsEmpty(database, roomId))
  }
  await receive(before, after)
  return { stage, room, roomId, told, before, after, receive }
}

const link = (room: MadeUpRoom, type: string, content: JsonObject, prev: Made) =>
  room.add(
    mallory,
    type,
    { ...content, [historicalFlag]: true },
    { prev: [idOf(prev)], aside: true },
  )

/** A batch of two messages behind an event, with the insertion event on which it hangs: oldest first. */
function line(room: MadeUpRoom, behind: Made, offers: string, sender = mallory): Made[] {
  const base = link(room, insertionType, { next_batch_id: 'x' }, behind)
  const inner = link(room, insertionType, { next_batch_id: offers }, behind)
  const first = room.say(sender, 'h1', { prev: [idOf(inner)], aside: true })
  const second = room.say(mallory, 'h2', { prev: [idOf(first)], aside: true })
  return [inner, first, second, link(room, batchType, { batch_id: 'x' }, second), base]
}

const mark = (room: MadeUpRoom, id: string, stateKey: string) =>
  room.add(mallory, markerType, { insertion_event_reference: id }, { stateKey })

/** Answers `/backfill` as a server does that knows of batches: newest first. */
const telling =
  (all: readonly Made[]): Told['lie'] =>
  ({ name }, reply) =>
    name === 'backfill'
      ? { status: 200, body: { pdus: all.toReversed().map(({ event }) => event.pdu) } }
      : reply

test('what a marker names is read directly behind what it follows', async () => {
  const { stage, room, roomId, told, before, after, receive } = await scene()
  await using _ = stage
  const all = line(room, before, 'y')
  told.lie = telling(all)
  const marker = mark(room, idOf(all.at(-1)!), 'm')
  await receive(marker)
  const expected = [before, ...all, after, marker].map(idOf)
  const read = async () => {
    const order = await readingOrder(database, roomId)
    return order.slice(order.indexOf(idOf(before)))
  }
  await until(async () => (await read()).length === expected.length)
  expect(await read()).toEqual(expected)
  expect(stage.errors).toEqual([])
})

test('a message that the room does not allow is left out, and the others are read', async () => {
  const { stage, room, roomId, told, before, after, receive } = await scene()
  await using _ = stage
  const all = line(room, before, 'y', eve)
  told.lie = telling(all)
  await receive(mark(room, idOf(all.at(-1)!), 'm'))
  await until(async () => (await readingOrder(database, roomId)).includes(idOf(all.at(-1)!)))
  const order = await readingOrder(database, roomId)
  const [inner, , ...rest] = all
  expect(order.slice(order.indexOf(idOf(before)), -1)).toEqual(
    [before, inner!, ...rest, after].map(idOf),
  )
  expect(stage.errors).toEqual([])
})

test('a batch that hangs on what it follows itself does no harm', async () => {
  const { stage, room, roomId, told, before, receive } = await scene()
  await using _ = stage
  const all = line(room, before, 'x')
  told.lie = telling(all)
  const asked = () => told.asked('backfill').length
  await receive(mark(room, idOf(all.at(-1)!), 'm'))
  await until(() => asked() > 0)
  const { eventId } = await say(stage, roomId, 'goes on')
  await until(async () => (await readingOrder(database, roomId)).at(-1) === eventId)
  const order = await readingOrder(database, roomId)
  expect(new Set(order).size).toBe(order.length)
  expect(stage.errors).toEqual([])
})

test('one that cannot be fetched is remembered, and found when it is named again', async () => {
  const { stage, room, roomId, told, before, receive } = await scene()
  await using _ = stage
  const all = line(room, before, 'y')
  told.lie = ({ name }, reply) => (name === 'event' || name === 'backfill' ? silent : reply)
  const base = idOf(all.at(-1)!)
  const waiting = async () =>
    (
      await database.pool`
        select from history_awaited h join rooms r using (shard, room_nid)
        where r.room_id = ${roomId}`
    ).length
  await receive(mark(room, base, 'm'))
  await until(async () => (await waiting()) === 1)
  expect(await readingOrder(database, roomId)).not.toContain(base)
  told.lie = telling(all)
  await receive(mark(room, base, 'n'))
  await until(async () => (await readingOrder(database, roomId)).includes(base))
  expect(await waiting()).toBe(0)
  expect(stage.errors).toEqual([])
})

test('one that cannot be fetched is asked for again after growing pauses, and no more in the end', async () => {
  let now = Date.now()
  const { stage, room, roomId, told, before: behind, receive } = await scene(true, () => now)
  await using _ = stage
  const all = line(room, behind, 'y')
  told.lie = ({ name }, reply) => (name === 'event' || name === 'backfill' ? silent : reply)
  const base = idOf(all.at(-1)!)
  await receive(mark(room, base, 'm'))
  const asked = () => told.asked('event').length
  /** Another one each time that it was remembered. */
  const remembered = async () => {
    const [row] = await database.pool<{ at: string }[]>`
      select h.xmin::text as at from history_awaited h join rooms r using (shard, room_nid)
      where r.room_id = ${roomId} and h.prev_id is null`
    return row?.at
  }
  await until(async () => (await remembered()) !== undefined)
  const { attempts, retryMs } = stage.engine.parts.limits
  const look = async () => {
    stage.engine.housekeeping.markers.look()
    // Whatever it has begun is before this in the lane.
    await stage.engine.housekeeping.markers.idle()
    await say(stage, roomId, 'meanwhile')
  }
  for (let attempt = 0; attempt < attempts; attempt++) {
    const [count, before] = [asked(), await remembered()]
    await look()
    await until(async () => asked() > count && (await remembered()) !== before)
    const after = asked()
    now += retryMs * 2 ** attempt - 1
    await look()
    expect(asked()).toBe(after)
    now += 1
  }
  const count = asked()
  now += retryMs * 2 ** attempts
  await look()
  expect(asked()).toBe(count)
  expect(await remembered()).toBeDefined()
  expect(stage.errors).toEqual([])
})

test('one that could be fetched again by then is read', async () => {
  const { stage, room, roomId, told, before, receive } = await scene()
  await using _ = stage
  const all = line(room, before, 'y')
  told.lie = ({ name }, reply) => (name === 'event' || name === 'backfill' ? silent : reply)
  const base = idOf(all.at(-1)!)
  await receive(mark(room, base, 'm'))
  await until(
    async () =>
      (
        await database.pool`
          select from history_awaited h join rooms r using (shard, room_nid)
          where r.room_id = ${roomId}`
      ).length === 1,
  )
  told.lie = telling(all)
  stage.engine.housekeeping.markers.look()
  await until(async () => (await readingOrder(database, roomId)).includes(base))
  expect(stage.errors).toEqual([])
})

test('a marker that names anything but an insertion event leads nowhere', async () => {
  const { stage, room, roomId, told, before, receive } = await scene()
  await using _ = stage
  const other = room.say(mallory, 'no insertion event', { prev: [idOf(before)], aside: true })
  await receive(mark(room, idOf(other), 'm'), mark(room, 'nothing', 'n'))
  await until(() => told.asked('event').length > 0)
  await receive(room.say(mallory, 'goes on'))
  expect(await readingOrder(database, roomId)).not.toContain(idOf(other))
  expect(told.asked('backfill')).toEqual([])
  expect(stage.errors).toEqual([])
})

test('where the operator does not want it, markers are events like others', async () => {
  const { stage, room, told, before, receive } = await scene(false)
  await using _ = stage
  const all = line(room, before, 'y')
  told.lie = telling(all)
  await receive(mark(room, idOf(all.at(-1)!), 'm'), room.say(mallory, 'goes on'))
  expect([...told.asked('event'), ...told.asked('backfill')]).toEqual([])
})
