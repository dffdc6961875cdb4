import { expect, test } from 'bun:test'
import { signEvent } from '#core/event/build.ts'
import type { JsonObject } from '#core/json.ts'
import { type Asked, readStripped } from '#engine/read/stripped.ts'
import { readSummaries } from '#engine/read/summary.ts'
import { packEventId } from '#store/room/event-id.ts'
import { versionOf } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  alice,
  bob,
  createRoom,
  deliver,
  inboxIsEmpty,
  openStage,
  say,
  setState,
  until,
} from '#test/room-engine.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()

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
    await using stage = await openScene(database, { version })
    const { roomId, room } = stage
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
  await using stage = await openScene(database)
  const { roomId, room } = stage
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

test('whoever is asked in is not shown what was taken back', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11', { name: 'Secrets' })
  const named = await setState(stage, roomId, 'm.room.name', { name: 'More secrets' })
  await setState(stage, roomId, 'm.room.topic', { topic: 'Gossip' })
  await stage.rooms.call('send', roomId, {
    sender: alice,
    type: 'm.room.redaction',
    content: JSON.stringify({ redacts: named.eventId }),
    redacts: named.eventId,
  })
  expect(await redactionsOf(named.eventId)).toEqual([true])

  const carol = there.user('carol')
  let told: JsonObject | undefined
  stage.federation.answer = ({ body }) => {
    told = JSON.parse(body!) as JsonObject
    const signed = signEvent(versionOf('11'), told['event'] as JsonObject, {
      serverName: there.name,
      key: there.key,
    })
    return { status: 200, body: JSON.stringify({ event: signed }) }
  }
  const asked = await Promise.all(
    [carol, bob].map((target) =>
      stage.rooms.call('changeMembership', roomId, {
        sender: alice,
        target,
        membership: 'invite',
        content: '{}',
      }),
    ),
  )
  expect(JSON.stringify(told)).toContain('Gossip')
  expect(JSON.stringify(told)).toContain('"m.room.name"')
  expect(JSON.stringify(told)).not.toContain('secrets')

  const [row] = await database.pool<Asked[]>`
    select shard, room_nid as "roomNid", event_nid as "eventNid", position from events
    where event_id = ${Buffer.from(packEventId(asked[1]!.eventId))}`
  const stripped = await readStripped(database.pool, [row!])
  expect(JSON.stringify(stripped.get(row!.roomNid)!.state)).toContain('Gossip')
  expect(JSON.stringify(stripped.get(row!.roomNid)!.state)).not.toContain('secrets')
  const summaries = await readSummaries(database.pool, bob, [
    { shard: row!.shard, roomNid: row!.roomNid, at: row!.position },
  ])
  // The room has no name any more.
  expect(summaries.get(row!.roomNid)!.heroes).toEqual(expect.arrayContaining([alice, carol]))
})
