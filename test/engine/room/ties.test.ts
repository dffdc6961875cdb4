import { expect, test } from 'bun:test'
import { dummyType } from '#core/content/dummy-event.ts'
import { defaultLimits } from '#engine/room/limits.ts'
import { eventFlags } from '#store/room/batch.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  alice,
  deliver,
  inboxIsEmpty,
  refusal,
  say,
  setState,
  type Stage,
  stored,
  until,
} from '#test/room-engine.ts'
import { judgementIn, splits } from '#test/simulation/states.ts'
import { endImport, ghost, messages, openImport, person, sendBatch } from './import/importing.ts'
import { readingOrder } from './reading-order.ts'
import { mallory, openScene, there } from './scene.ts'

const database = await testDatabase()
const { ends } = defaultLimits

/** Messages of another server that all cite the same event: each is an end. */
async function fork(stage: Stage & { roomId: string }, count: number, body = 'fork') {
  const { roomId } = stage
  const room = await adopt(database, roomId, there)
  const heads = room.heads.slice(0, 1)
  const made = Array.from({ length: count }, (_, n) =>
    room.say(mallory, `${body} ${n}`, { prev: heads, aside: true }),
  )
  await deliver(
    stage,
    database,
    roomId,
    there,
    made.map(({ text }) => text),
  )
  await until(inboxIsEmpty(database, roomId))
  return made.map(({ event }) => event.eventId)
}

const endsOf = async ({ roomId }: { roomId: string }): Promise<number> => {
  const [row] = await database.pool<{ ends: number }[]>`
    select count(*)::integer as ends from extremities x
    join rooms r on r.shard = x.shard and r.room_nid = x.room_nid where r.room_id = ${roomId}`
  return row!.ends
}

type Tie = {
  sender: string
  prevs: number
  chain: number | null
  position: number | null
  destination_set: number | null
  flags: number
}

const tiesOf = ({ roomId }: { roomId: string }) =>
  database.pool<Tie[]>`
    select u.user_id as sender, cardinality(e.prev_nids) as prevs, e.chain, e.position,
      e.destination_set, e.flags
    from rooms r
    join events e on e.shard = r.shard and e.room_nid = r.room_nid
    join event_types t on t.type_nid = e.type_nid
    join user_ids u on u.user_nid = e.sender_nid
    where r.room_id = ${roomId} and t.type = ${dummyType} order by e.event_nid`

const soon = { tieMs: 20, tieSoonMs: 20 }

test.each(['1', '6', '12'])(
  'many ends of a room are tied together, by events that nobody is told of, in version %s',
  async (version) => {
    await using stage = await openScene(database, { version, limits: soon })
    const forks = await fork(stage, 45)
    await until(async () => (await endsOf(stage)) <= ends)
    const ties = await tiesOf(stage)
    expect(ties.length).toBeGreaterThanOrEqual(2)
    for (const tie of ties) {
      expect(tie).toMatchObject({ sender: alice, flags: 0 })
      expect(tie).toMatchObject({ chain: null, position: null, destination_set: null })
      expect(tie.prevs).toBeLessThanOrEqual(20)
    }
    // The room goes on from there, and reads as if nothing were between.
    const { eventId } = await say(stage, stage.roomId, 'after')
    const order = await readingOrder(database, stage.roomId)
    expect(order.slice(-46)).toEqual([...forks, eventId])
    expect(order.filter((each) => each.startsWith('gap'))).toEqual([])
    expect(stage.errors).toEqual([])
  },
)

test('a message cites as many ends as an event may', async () => {
  await using stage = await openScene(database, { version: '12' })
  const { roomId } = stage
  await fork(stage, 25)
  const { eventId } = await say(stage, roomId, 'at once')
  const { json } = (await stored(database, roomId, eventId))!
  expect((JSON.parse(json) as { prev_events: string[] }).prev_events).toHaveLength(20)
  expect(await endsOf(stage)).toBe(6)
})

test('the state before a message of ours is that of the ends which it cites', async () => {
  await using stage = await openScene(database, { version: '11' })
  const { roomId } = stage
  await setState(stage, roomId, 'm.room.power_levels', { users: { [alice]: 100, [mallory]: 50 } })
  const room = await adopt(database, roomId, there)
  const prev = room.heads.slice(0, 1)
  const topic = room.add(
    mallory,
    'm.room.topic',
    { topic: 'aside' },
    { stateKey: '', prev, aside: true },
  )
  const forks = Array.from({ length: 22 }, (_, n) =>
    room.say(mallory, `fork ${n}`, { prev, aside: true, depth: 100 }),
  )
  const texts = [topic, ...forks].map(({ text }) => text)
  await deliver(stage, database, roomId, there, texts)
  await until(inboxIsEmpty(database, roomId))
  const first = await say(stage, roomId, 'I cite twenty')
  const second = await say(stage, roomId, 'I cite the rest')
  const judgement = await judgementIn('us.test', database.pool, { roomId, version: '11' })
  expect(splits({ roomId, version: '11' }, [judgement])).toEqual([])
  const topicBefore = (id: string) => judgement.judged.get(id)!.before.get('m.room.topic\0')
  expect(topicBefore(first.eventId)).toBeUndefined()
  expect(topicBefore(second.eventId)).toBe(topic.event.eventId)
})

test('what the room forbids is not said on top of ends that allow it', async () => {
  await using stage = await openScene(database, { version: '11' })
  const { roomId } = stage
  await setState(stage, roomId, 'm.room.power_levels', { users: { [alice]: 50, [mallory]: 100 } })
  const room = await adopt(database, roomId, there)
  const prev = room.heads.slice(0, 1)
  const kick = room.member(mallory, alice, 'leave', { prev, aside: true })
  const forks = Array.from({ length: 22 }, (_, n) =>
    room.say(mallory, `fork ${n}`, { prev, aside: true, depth: 100 }),
  )
  const texts = [kick, ...forks].map(({ text }) => text)
  await deliver(stage, database, roomId, there, texts)
  await until(inboxIsEmpty(database, roomId))
  expect(await refusal(say(stage, roomId, 'I am still here'))).toEqual([403, 'M_FORBIDDEN'])
})

test('what is soft-failed is no end, and few ends are left alone', async () => {
  await using stage = await openScene(database, { version: '11', limits: soon })
  const { roomId } = stage
  const past = await adopt(database, roomId, there)
  await setState(stage, roomId, 'm.room.member', { membership: 'ban' }, mallory)
  const made = Array.from({ length: 30 }, (_, n) =>
    past.say(mallory, `banned ${n}`, { prev: past.heads, aside: true }),
  )
  await deliver(
    stage,
    database,
    roomId,
    there,
    made.map(({ text }) => text),
  )
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, made[0]!.event.eventId)).toMatchObject({
    flags: eventFlags.softFailed,
  })
  expect(await endsOf(stage)).toBe(1)
  expect(await tiesOf(stage)).toHaveLength(0)
})

test('nobody ties who may not speak, and that is not tried again and again', async () => {
  await using stage = await openScene(database, { version: '11', limits: soon })
  const { roomId } = stage
  const levels = { users: { [mallory]: 50 }, events_default: 50, state_default: 50 }
  await setState(stage, roomId, 'm.room.power_levels', levels)
  await fork(stage, 20)
  const lane = stage.engine.lane(roomId)
  // Another comes, and starts what would tie.
  await fork(stage, 1, 'more')
  await until(() => lane.idle)
  expect(await endsOf(stage)).toBeGreaterThan(ends)
  expect(await tiesOf(stage)).toHaveLength(0)
  expect(stage.errors).toEqual([])
})

test('what another server ties is not read, either, and what cites it follows without a gap', async () => {
  await using stage = await openScene(database, { version: '11' })
  const { roomId } = stage
  const room = await adopt(database, roomId, there)
  const first = room.say(mallory, 'first')
  const tie = room.add(mallory, dummyType, {})
  const last = room.say(mallory, 'last')
  await deliver(stage, database, roomId, there, [first.text, tie.text, last.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, tie.event.eventId)).toMatchObject({ flags: 0 })
  const order = await readingOrder(database, roomId)
  expect(order.slice(-2)).toEqual([first.event.eventId, last.event.eventId])
  expect(order).not.toContain(tie.event.eventId)
  expect(await endsOf(stage)).toBe(1)
})

test('an import is neither begun nor tied in while a room has more ends than its event may cite', async () => {
  await using stage = await openScene(database)
  const { roomId } = stage
  const wish = { federate: true, mode: 'append' } as const
  const { session_id: session } = await openImport(stage, roomId, wish)
  const records = messages('m', ghost('ann'), 2)
  await sendBatch(stage, roomId, session, 0, { records, people: [person(ghost('ann'))] })
  await fork(stage, 25)
  const busy = { status: 503, message: expect.stringContaining('too many ends') }
  const other = { ...wish, source: 'slack' }
  await expect(openImport(stage, roomId, other)).rejects.toMatchObject(busy)
  await expect(endImport(stage, roomId, session, 'commit')).rejects.toMatchObject(busy)
})
