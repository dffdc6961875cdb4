import { expect, test } from 'bun:test'
import { commit } from '#store/room/commit.ts'
import type { Batch } from '#store/room/batch.ts'
import type { Pool } from '#store/db.ts'
import { testDatabase } from '#test/database.ts'
import { alice, deliver, inboxIsEmpty, say, stored, type Stage, until } from '#test/room-engine.ts'
import { readingOrder } from '#test/engine/room/reading-order.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()

let requests = 0
const send = (
  { rooms }: Pick<Stage, 'rooms'>,
  roomId: string,
  behind: string,
  texts: readonly string[],
  batchId?: string,
) =>
  rooms.call('batchSend', roomId, {
    sender: alice,
    prevEventIds: [behind],
    ...(batchId !== undefined && { batchId }),
    stateAtStart: '[]',
    events: JSON.stringify(
      texts.map((body, index) => ({
        type: 'm.room.message',
        sender: alice,
        origin_server_ts: 1000 + index,
        content: { msgtype: 'm.text', body },
      })),
    ),
    request: (++requests).toString(16).padStart(64, '0'),
  })

const depthsOf = async (roomId: string, ids: readonly string[]) =>
  Promise.all(
    ids.map(async (id) => {
      const { json } = (await stored(database, roomId, id))!
      return (JSON.parse(json) as { depth: number }).depth
    }),
  )

test('where there is room between what was said, each event of a batch has a depth of its own', async () => {
  await using stage = await openScene(database)
  const { roomId, room } = stage
  const before = room.say(mallory, 'before')
  const after = room.say(mallory, 'after', { depth: 1000 })
  await deliver(stage, database, roomId, there, [before.text, after.text])
  await until(inboxIsEmpty(database, roomId))
  const { eventId } = before.event
  const newer = await send(stage, roomId, eventId, ['c', 'd'])
  const older = await send(stage, roomId, eventId, ['a', 'b'], newer.nextBatchId)
  const line = [
    older.insertionEventId,
    ...older.eventIds,
    older.batchEventId,
    newer.insertionEventId,
    ...newer.eventIds,
    newer.batchEventId,
    newer.baseInsertionEventId!,
  ]
  expect(await depthsOf(roomId, line)).toEqual(line.map((_, index) => 1000 - line.length + index))
  const order = await readingOrder(database, roomId)
  expect(order.slice(order.indexOf(eventId))).toEqual([eventId, ...line, after.event.eventId])
})

test('a batch whose commit fails is put in once, and what is said meanwhile is in its place', async () => {
  let failures = 0
  const failing = async (pool: Pool, batch: Batch) => {
    if (failures === 0 && batch.parts.some(({ history }) => history.length > 0)) {
      failures++
      throw new Error('no')
    }
    await commit(pool, batch)
  }
  await using stage = await openScene(database, { commit: failing })
  const { roomId } = stage
  const { eventId } = await say(stage, roomId, 'before')
  const [sent, b, c] = await Promise.all([
    send(stage, roomId, eventId, ['h1', 'h2']),
    say(stage, roomId, 'b'),
    say(stage, roomId, 'c'),
  ])
  expect(failures).toBe(1)
  const order = await readingOrder(database, roomId)
  expect(order.filter((id) => sent.eventIds.includes(id))).toEqual(sent.eventIds)
  const tail = order.slice(order.indexOf(eventId) + 1)
  expect(tail.length).toBe(7)
  for (const { eventId: live } of [b, c])
    expect(tail.indexOf(live)).toBeGreaterThan(tail.indexOf(sent.baseInsertionEventId!))
})

test('batches and messages that come at once each find their place', async () => {
  await using stage = await openScene(database)
  const { roomId } = stage
  const { eventId: first } = await say(stage, roomId, 'first')
  const rounds = Array.from({ length: 12 }, async (_, round) => {
    const said = await say(stage, roomId, `said ${round}`)
    return { said, sent: await send(stage, roomId, said.eventId, [`h${round}`, `i${round}`]) }
  })
  const all = await Promise.all([...rounds, ...rounds])
  const order = await readingOrder(database, roomId)
  expect(new Set(order).size).toBe(order.length)
  for (const { said, sent } of all) {
    const at = order.indexOf(said.eventId)
    expect(at).toBeGreaterThan(order.indexOf(first))
    expect(order.slice(at + 1, at + 6)).toEqual([
      sent.insertionEventId,
      ...sent.eventIds,
      sent.batchEventId,
      sent.baseInsertionEventId!,
    ])
  }
  expect(stage.errors).toEqual([])
})
