import { expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import type { Made } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  deliver,
  inboxIsEmpty,
  openStage,
  say,
  type Stage,
  stored,
  until,
} from '#test/room-engine.ts'
import * as inbox from '#store/room/inbox.ts'
import { graphOf } from '#store/room/inbox-thinning.ts'
import { readingOrder } from '#test/engine/room/reading-order.ts'
import { mallory, openScene, type Scene, there } from '#test/engine/room/scene.ts'
import { Told } from '#test/engine/room/told.ts'

const database = await testDatabase()

/** What the intake leaves of a room that is behind. */
async function leave(roomId: string, made: readonly Made[]): Promise<void> {
  const rows = made.map(({ event, text: json }) => ({
    shard: shardOf(roomId),
    roomId,
    json,
    graph: graphOf(event),
  }))
  const txnId = crypto.randomUUID()
  await inbox.receive(database.pool, [{ origin: there.name, txnId, answer: '{}', rows }], 1_000)
}

const limits = {
  laneEvents: 10,
  thinAbove: 60,
  thinKeep: 30,
  thinNewest: 5,
  thinStates: 2,
}

/** A server that was away while others sent to a room, and what they know of it. */
async function away(): Promise<Scene & { told: Told }> {
  const scene = await openScene(database)
  await scene.stop()
  return { ...scene, told: new Told(scene.room) }
}

async function comeBack(
  changes: object,
  told: Told,
): Promise<Stage & { thinned: [string, number][] }> {
  const thinned: [string, number][] = []
  const stage = await openStage(database, [there], {
    limits: { ...limits, ...changes },
    onThin: (roomId, dropped) => thinned.push([roomId, dropped]),
  })
  stage.federation.answer = told.answer
  return { ...stage, thinned }
}

const flags = async (roomId: string, made: readonly Made[]) =>
  new Set(
    await Promise.all(
      made.map(async ({ event }) => (await stored(database, roomId, event.eventId))?.flags),
    ),
  )

test('a long lane is thinned, what went comes again, and rows of other rooms stay', async () => {
  const quiet = await away()
  const { roomId, room, told } = await away()
  const said = Array.from({ length: 160 }, (_, i) => room.say(mallory, `${i}`))
  const others = Array.from({ length: 20 }, (_, i) => quiet.room.say(mallory, `${i}`))
  await leave(roomId, said)
  await leave(quiet.roomId, others)
  await using stage = await comeBack({}, told)
  await until(inboxIsEmpty(database, roomId))
  await until(inboxIsEmpty(database, quiet.roomId))
  // All but the first thirty, and the newest five.
  expect(stage.thinned).toEqual([[roomId, 125]])
  expect(stage.engine.counters()).toMatchObject({ thinned: 125 })
  expect(told.asked('get_missing_events').length).toBeGreaterThan(0)
  expect(await flags(roomId, said)).toEqual(new Set([0]))
  expect(await flags(quiet.roomId, others)).toEqual(new Set([0]))
  expect((await readingOrder(database, roomId)).slice(-160)).toEqual(
    said.map(({ event }) => event.eventId),
  )
  expect(stage.errors).toEqual([])
})

test('a lane too long to be fetched again ends with the state that others have, and a gap', async () => {
  const { roomId, room, told } = await away()
  const dave = there.user('dave')
  const many = (count: number) => Array.from({ length: count }, (_, i) => room.say(mallory, `${i}`))
  const before = many(80)
  const joined = room.member(dave, dave, 'join')
  const names = Array.from({ length: 4 }, (_, i) => {
    const content = { membership: 'join', displayname: `Mallory ${i}` }
    return room.add(mallory, 'm.room.member', content, { stateKey: mallory })
  })
  const after = many(80)
  const last = room.say(dave, 'I am in')
  await leave(roomId, [...before, joined, ...names, ...after, last])
  await using stage = await comeBack({ missingEvents: 20 }, told)
  await until(inboxIsEmpty(database, roomId))
  expect(await flags(roomId, [last])).toEqual(new Set([0]))
  expect(stage.thinned).toMatchObject([[roomId, expect.any(Number)]])
  const order = await readingOrder(database, roomId)
  expect(order.filter((each) => each.startsWith('gap')).length).toBeGreaterThan(0)
  const members = await database.pool<{ user_id: string }[]>`
    select u.user_id from memberships m join user_ids u using (user_nid)
    join rooms r using (shard, room_nid, generation)
    where r.room_id = ${roomId} and m.membership = 'join'`
  expect(members.map((row) => row.user_id)).toContain(dave)
  // We go on, on top of what came last.
  const { eventId } = await say(stage, roomId, 'hello dave')
  const { json } = (await stored(database, roomId, eventId))!
  expect((JSON.parse(json) as { prev_events: string[] }).prev_events).toContain(last.event.eventId)
  const [name] = await database.pool<{ json: string }[]>`
    select j.json from rooms r
    join current_state s using (shard, room_nid, generation)
    join state_keys k using (type_nid, state_key_nid)
    join event_json j on j.shard = s.shard and j.event_nid = s.event_nid
    where r.room_id = ${roomId} and k.state_key = ${mallory}`
  expect(JSON.parse(name!.json)).toMatchObject({ content: { displayname: 'Mallory 3' } })
  expect(stage.errors).toEqual([])
})

test('a room that cannot be thinned is tried less often, and worked off as it is', async () => {
  const { roomId, room, told } = await away()
  const heads = room.heads
  const said = Array.from({ length: 120 }, (_, i) =>
    room.say(mallory, `${i}`, { prev: heads, aside: true }),
  )
  await leave(roomId, said)
  await using stage = await comeBack({ thinEveryMs: 3_600_000 }, told)
  await until(inboxIsEmpty(database, roomId))
  expect(await flags(roomId, said)).toEqual(new Set([0]))
  expect([stage.thinned, stage.engine.counters()['thinned']]).toEqual([[], 0])
  await deliver(stage, database, roomId, there, [room.say(mallory, 'and on').text])
  await until(inboxIsEmpty(database, roomId))
  expect(stage.errors).toEqual([])
})
