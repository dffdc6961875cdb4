import { expect, test } from 'bun:test'
import { packEventId } from '#store/room/event-id.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  alice,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  until,
} from '#test/room-engine.ts'

const database = await testDatabase()
const there = new MadeUpServer('there.test')
const mallory = there.user('mallory')

/** Whether redactions of an event count, one entry each. */
const redactionsOf = async (eventId: string) => {
  const rows = await database.pool<{ applied: boolean }[]>`
    select applied from redactions where target_id = ${Buffer.from(packEventId(eventId))}`
  return rows.map(({ applied }) => applied)
}

const redacting = (target: string) =>
  ['m.room.redaction', { redacts: target }, { redacts: target }] as const

test.each(['1', '3', '11', '12'])(
  'in a room of version %s a redaction waits for its target, also when the room is read anew',
  async (version) => {
    await using stage = await openStage(database, [there])
    const roomId = await createRoom(stage, version)
    const room = await joinFrom(stage, database, roomId, there, 'mallory')
    const target = room.say(mallory, 'bad', { aside: true })
    const redaction = room.add(mallory, ...redacting(target.event.eventId))
    await deliver(stage, database, roomId, there, [redaction.text])
    await until(inboxIsEmpty(database, roomId))
    expect(await redactionsOf(target.event.eventId)).toEqual([false])
    stage.engine.lanes.delete(roomId)
    await deliver(stage, database, roomId, there, [target.text])
    await until(inboxIsEmpty(database, roomId))
    expect(await redactionsOf(target.event.eventId)).toEqual([true])
    expect(stage.errors).toEqual([])
  },
)

test('who may not redact others redacts what their own server sent, and nothing else', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const { eventId: ours } = await say(stage, roomId, 'ours')
  const own = room.say(mallory, 'own')
  const bad = room.add(mallory, ...redacting(ours))
  const good = room.add(mallory, ...redacting(own.event.eventId))
  const odd = room.add(mallory, ...redacting('no event ID'))
  const texts = [own, bad, good, odd].map(({ text }) => text)
  await deliver(stage, database, roomId, there, texts)
  await until(inboxIsEmpty(database, roomId))
  expect(await redactionsOf(ours)).toEqual([])
  expect(await redactionsOf(own.event.eventId)).toEqual([true])
  expect(await redactionsOf('no event ID')).toEqual([])
  // A creator may.
  await stage.rooms.call('send', roomId, {
    sender: alice,
    type: 'm.room.redaction',
    content: JSON.stringify({ redacts: own.event.eventId }),
    redacts: own.event.eventId,
  })
  expect(await redactionsOf(own.event.eventId)).toEqual([true, true])
  expect(stage.errors).toEqual([])
})
