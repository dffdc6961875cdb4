import { expect, test } from 'bun:test'
import { type Made } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs } from '#test/until.ts'
import {
  adopt,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  type Stage,
  stored,
  until,
} from '#test/room-engine.ts'
import type { EngineOptions } from '#engine/room/engine.ts'
import { readingOrder } from '#test/engine/room/reading-order.ts'
import { Told } from '#test/engine/room/told.ts'
import { other, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()
const carol = there.user('carol')
const textOf = ({ text }: Made) => text
const idOf = ({ event }: Made) => event.eventId
const isThere = (roomId: string, made: Made) => async () =>
  (await stored(database, roomId, idOf(made))) !== undefined
const silent = { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'No' } }

/** A room of ours in which carol of there.test is, and all that there.test can tell of it. */
async function scene(version = '12', changes: Partial<EngineOptions> = {}) {
  const stage = await openStage(database, [there, other], changes)
  const roomId = await createRoom(stage, version)
  const room = await joinFrom(stage, database, roomId, there, 'carol')
  const told = new Told(room)
  stage.federation.answer = told.answer
  const many = (count: number, what = 'hello') =>
    Array.from({ length: count }, (_, i) => room.say(carol, `${what} ${i}`))
  return { stage, roomId, room, told, many }
}

const arrived = async (stage: Stage, roomId: string, made: Made) => {
  await until(isThere(roomId, made))
  await until(inboxIsEmpty(database, roomId))
  expect(stage.errors).toEqual([])
}

test.each(['1', '3', '11', '12'])(
  'the one event that lacks is asked of the server that cites it, in version %s',
  async (version) => {
    const { stage, roomId, told, many } = await scene(version)
    await using _ = stage
    const [hidden, sent] = many(2) as [Made, Made]
    await deliver(stage, database, roomId, there, [sent.text])
    await arrived(stage, roomId, sent)
    const rows = await Promise.all([hidden, sent].map((e) => stored(database, roomId, idOf(e))))
    expect(rows.map((row) => row!.flags)).toEqual([0, 0])
    expect(rows[0]!.position!).toBeLessThan(rows[1]!.position!)
    expect(told.questions.map(({ name, server }) => `${server} ${name}`)).toEqual([
      `${there.name} get_missing_events`,
    ])
  },
)

test('a chain of 30 that lacks comes in with one request, in order', async () => {
  const { stage, roomId, told, many } = await scene()
  await using _ = stage
  const all = many(31)
  await deliver(stage, database, roomId, there, [textOf(all.at(-1)!)])
  await arrived(stage, roomId, all.at(-1)!)
  expect((await readingOrder(database, roomId)).slice(-31)).toEqual(all.map(idOf))
  expect(told.asked('get_missing_events')).toHaveLength(1)
  expect(stage.engine.counters()).toMatchObject({ parked: 0, accepted: 31, stateFetches: 0 })
})

test('all who lack the same share a request, and who waits for a parked event needs none', async () => {
  const { stage, roomId, room, told } = await scene()
  await using _ = stage
  const gate = Promise.withResolvers<void>()
  stage.federation.answer = async (request) => {
    await gate.promise
    return told.answer(request)
  }
  const hidden = room.say(carol, 'hidden')
  const forks = Array.from({ length: 5 }, (_, i) =>
    room.say(carol, `fork ${i}`, { prev: [idOf(hidden)], aside: true }),
  )
  const after = room.say(carol, 'after', { prev: forks.map(idOf) })
  await deliver(stage, database, roomId, there, [...forks, after].map(textOf))
  await until(() => stage.engine.counters()['parked'] === 6)
  gate.resolve()
  await arrived(stage, roomId, after)
  expect(told.questions).toHaveLength(1)
  expect((told.questions[0]!.body['latest_events'] as string[]).toSorted()).toEqual(
    forks.map(idOf).toSorted(),
  )
})

test('a peer that does not answer holds up nobody, and another server of the room is asked next', async () => {
  const { stage, roomId, told, many } = await scene('12', { limits: { requestMs: patienceMs } })
  await using _ = stage
  await joinFrom(stage, database, roomId, other, 'eve')
  const givesUp = Promise.withResolvers<void>()
  stage.federation.answer = async (request) => {
    const answer = told.answer(request)
    if (request.destination !== there.name) return answer
    await givesUp.promise
    return { status: 504, body: '' }
  }
  const [hidden, dangling] = many(2) as [Made, Made]
  await deliver(stage, database, roomId, there, [dangling.text])
  await until(() => told.questions.length > 0)

  const { eventId } = await say(stage, roomId, 'we go on')
  const others = await adopt(database, roomId, other)
  const valid = others.say(other.user('eve'), 'so do we')
  await deliver(stage, database, roomId, other, [valid.text])
  await until(isThere(roomId, valid))
  expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
  expect(told.questions.map(({ server }) => server)).toEqual([there.name])

  givesUp.resolve()
  await arrived(stage, roomId, dangling)
  expect(told.questions.map(({ server }) => server)).toEqual([there.name, other.name])
  expect(await stored(database, roomId, idOf(hidden))).toMatchObject({ flags: 0 })
})

test('of two servers whose events lack the same the second is asked when the first does not answer', async () => {
  const { stage, roomId, room, told } = await scene('12', { limits: { requestMs: 150 } })
  await using _ = stage
  const eve = other.user('eve')
  const others = await joinFrom(stage, database, roomId, other, 'eve')
  told.lie = ({ server }, reply) => (server === there.name ? undefined : reply)
  const hidden = room.say(carol, 'hidden')
  const theirs = room.say(carol, 'theirs')
  await deliver(stage, database, roomId, there, [theirs.text])
  await until(() => told.questions.length > 0)
  const prev = [idOf(hidden), ...others.heads]
  const sent = others.say(eve, 'I have it', { prev, depth: 100 })
  await deliver(stage, database, roomId, other, [sent.text])
  await arrived(stage, roomId, sent)
  await arrived(stage, roomId, theirs)
  expect(told.questions.map(({ server }) => server)).toEqual([there.name, other.name])
  expect(stage.engine.counters()).toMatchObject({ missingRequests: 2, parked: 0 })
})

test('events of another room, forged ones and those that nobody asked for do not come in', async () => {
  const { stage, roomId, room, told, many } = await scene()
  await using _ = stage
  const elsewhere = await createRoom(stage)
  const foreign = await joinFrom(stage, database, elsewhere, there, 'carol')
  const alien = foreign.say(carol, 'of another room')
  const [hidden, sent] = many(2) as [Made, Made]
  const unasked = room.say(carol, 'unasked', { prev: [idOf(hidden)], aside: true })
  const forged = room.make(carol, 'm.room.message', { body: 'forged' }, { signedBy: other })
  told.lie = ({ name }, reply) => {
    if (name !== 'get_missing_events') return silent
    const { events } = reply.body as { events: object[] }
    const lies = [alien, unasked, forged].map(({ event }) => event.pdu)
    return { status: 200, body: { events: [...lies, ...events] as never } }
  }
  await deliver(stage, database, roomId, there, [sent.text])
  await arrived(stage, roomId, sent)
  expect(await stored(database, roomId, idOf(hidden))).toMatchObject({ flags: 0 })
  for (const made of [unasked, forged])
    expect(await stored(database, roomId, idOf(made))).toBeUndefined()
  expect(await stored(database, elsewhere, idOf(alien))).toBeUndefined()
})

test('what is fetched is judged like all else: who may not speak is rejected', async () => {
  const { stage, roomId, room } = await scene()
  await using _ = stage
  const dave = there.user('dave')
  const auth = room.make(carol, 'm.room.message', {}).event.authEvents
  const rejected = room.say(dave, 'I never joined', { auth })
  const sent = room.say(carol, 'on top of it')
  await deliver(stage, database, roomId, there, [sent.text])
  await arrived(stage, roomId, sent)
  expect(await stored(database, roomId, idOf(rejected))).toMatchObject({ flags: 1, position: null })
  expect(await stored(database, roomId, idOf(sent))).toMatchObject({ flags: 0 })
})

test('where the ancestors cannot be had the state is fetched, and readers learn of the gap', async () => {
  const { stage, roomId, room, told, many } = await scene()
  await using _ = stage
  const before = await readingOrder(database, roomId)
  many(3)
  const dave = there.user('dave')
  const joined = room.member(dave, dave, 'join')
  const last = room.say(carol, 'hidden too')
  const sent = room.say(dave, 'whom you do not know')
  told.lie = ({ name }, reply) => (name === 'get_missing_events' ? silent : reply)
  await deliver(stage, database, roomId, there, [sent.text])
  await arrived(stage, roomId, sent)
  // Dave's join is known beside the graph, and is state now.
  expect(await stored(database, roomId, idOf(joined))).toMatchObject({ flags: 4, position: null })
  expect(await stored(database, roomId, idOf(sent))).toMatchObject({ flags: 0 })
  expect(await readingOrder(database, roomId)).toEqual([...before, `gap ${idOf(last)}`, idOf(sent)])
  const members = await database.pool<{ user_id: string }[]>`
    select u.user_id from memberships m join user_ids u using (user_nid)
    join rooms r using (shard, room_nid, generation)
    where r.room_id = ${roomId} and m.membership = 'join' order by 1`
  expect(members.map((row) => row.user_id)).toContain(dave)
  // We go on, on top of it.
  const { eventId } = await say(stage, roomId, 'hello dave')
  const { json } = (await stored(database, roomId, eventId))!
  expect((JSON.parse(json) as { prev_events: string[] }).prev_events).toContain(idOf(sent))

  // What was missing comes late: it closes the gap and is no news.
  told.lie = (_, reply) => reply
  await deliver(stage, database, roomId, there, [last.text])
  await arrived(stage, roomId, last)
  const order = await readingOrder(database, roomId)
  expect(order.filter((each) => each.startsWith('gap'))).toEqual([])
  expect(order.indexOf(idOf(last))).toBe(order.indexOf(idOf(sent)) - 1)
  expect(await stored(database, roomId, idOf(last))).toMatchObject({ flags: 0, position: null })
  expect(await stored(database, roomId, idOf(joined))).toMatchObject({ flags: 0 })
})

test('an event whose state breaks off half-way waits until all of it can be had', async () => {
  const { stage, roomId, room, told } = await scene('10', {
    limits: { retryMs: 10, inboxPollMs: 5, attempts: 100 },
  })
  await using _ = stage
  const dave = there.user('dave')
  room.member(dave, dave, 'join')
  room.say(carol, 'hidden')
  const sent = room.say(carol, 'hello')
  told.lie = ({ name }, reply) => {
    if (name === 'get_missing_events') return silent
    return name === 'event' ? { status: 503, body: {} } : reply
  }
  await deliver(stage, database, roomId, there, [sent.text])
  // It was put off, and asked for again.
  await until(async () => told.asked('state_ids').length > 1 || (await isThere(roomId, sent)()))
  expect(await stored(database, roomId, idOf(sent))).toBeUndefined()
  told.lie = ({ name }, reply) => (name === 'get_missing_events' ? silent : reply)
  await until(isThere(roomId, sent))
  const answer = room.say(dave, 'hello carol')
  await deliver(stage, database, roomId, there, [answer.text])
  await arrived(stage, roomId, answer)
  expect(await stored(database, roomId, idOf(answer))).toMatchObject({ flags: 0 })
})

test('a state that is none is not believed (Synapse 1.15.2)', async () => {
  const { stage, roomId, room, told, many } = await scene('12', {
    limits: { attempts: 1 },
  })
  await using _ = stage
  const [, sent] = many(2) as [Made, Made]
  told.lie = ({ name }, reply) => {
    if (name === 'get_missing_events') return silent
    if (name !== 'state_ids') return reply
    // The create event is left out.
    const create = room.state.get('m.room.create ')!.eventId
    const { pdu_ids: ids, ...rest } = reply.body as { pdu_ids: string[] }
    return { status: 200, body: { ...rest, pdu_ids: ids.filter((id) => id !== create) } }
  }
  await deliver(stage, database, roomId, there, [sent.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, idOf(sent))).toBeUndefined()
  expect(stage.engine.counters()).toMatchObject({ givenUp: 1, parked: 0 })
})

test('auth events that lack are fetched with their own, and stand beside the graph', async () => {
  const { stage, roomId, room, told } = await scene()
  await using _ = stage
  const heads = [...room.heads]
  const dave = there.user('dave')
  // The join is cited as an auth event only: on another branch than what is sent.
  const join = room.member(dave, dave, 'join')
  const auth = room.make(dave, 'm.room.message', {}).event.authEvents
  const sent = room.say(dave, 'hello', { prev: heads, auth })
  await deliver(stage, database, roomId, there, [sent.text])
  await arrived(stage, roomId, sent)
  expect(told.questions.map(({ name }) => name)).toEqual(['event'])
  expect(await stored(database, roomId, idOf(join))).toMatchObject({ flags: 4 })
  // By the state before it dave is not in the room.
  expect(await stored(database, roomId, idOf(sent))).toMatchObject({ flags: 1 })
})

test('auth events that nobody gives one by one come with the state', async () => {
  const { stage, roomId, room, told } = await scene()
  await using _ = stage
  const dave = there.user('dave')
  const join = room.member(dave, dave, 'join')
  // So many that the state is asked for as a whole.
  for (let n = 0; n < 60; n++)
    room.add(
      dave,
      'm.room.member',
      { membership: 'join', displayname: `Dave ${n}` },
      { stateKey: dave },
    )
  room.say(carol, 'hidden')
  const sent = room.say(dave, 'whom you do not know')
  const refused = new Set(['get_missing_events', 'event', 'event_auth'])
  told.lie = ({ name }, reply) => (refused.has(name) ? silent : reply)
  await deliver(stage, database, roomId, there, [sent.text])
  await arrived(stage, roomId, sent)
  expect(await stored(database, roomId, idOf(join))).toMatchObject({ flags: 4 })
  expect(await stored(database, roomId, idOf(sent))).toMatchObject({ flags: 0 })
})

test('what cannot be had is asked for again later, and in the end the event is dropped', async () => {
  const limits = { attempts: 3, retryMs: 10, inboxPollMs: 5 }
  const { stage, roomId, told, many } = await scene('12', { limits })
  await using _ = stage
  const [, sent, after] = many(3) as [Made, Made, Made]
  told.lie = () => silent
  await deliver(stage, database, roomId, there, [sent.text, after.text])
  await until(inboxIsEmpty(database, roomId))
  expect(stage.engine.counters()).toMatchObject({ givenUp: 2, parked: 0, missingRequests: 3 })
  // A later descendant brings them again.
  told.lie = (_, reply) => reply
  const [last] = many(1, 'later') as [Made]
  await deliver(stage, database, roomId, there, [last.text])
  await arrived(stage, roomId, last)
  expect(await stored(database, roomId, idOf(sent))).toMatchObject({ flags: 0 })
})

test('an endless chain is followed only so far', async () => {
  const { stage, roomId, told, many } = await scene('12', { limits: { missingEvents: 20 } })
  await using _ = stage
  const all = many(60)
  await deliver(stage, database, roomId, there, [textOf(all.at(-1)!)])
  await arrived(stage, roomId, all.at(-1)!)
  const order = (await readingOrder(database, roomId)).slice(-22)
  expect(order).toEqual([`gap ${idOf(all[38]!)}`, ...all.slice(39).map(idOf)])
  expect(told.asked('state_ids').map(({ query }) => query.get('event_id'))).toEqual([
    idOf(all[39]!),
  ])
})

test.each([{ searchBytes: 10_000 }, { searchBytesInAll: 10_000 }])(
  'what is found is bounded in bytes, and the state is fetched instead: %p',
  async (limits) => {
    const { stage, roomId, told, many } = await scene('12', { limits })
    await using _ = stage
    const all = many(60)
    await deliver(stage, database, roomId, there, [textOf(all.at(-1)!)])
    await arrived(stage, roomId, all.at(-1)!)
    const order = await readingOrder(database, roomId)
    const gaps = order.filter((each) => each.startsWith('gap'))
    expect(gaps).toHaveLength(1)
    // The newest are there, without a hole.
    const kept = order.slice(order.indexOf(gaps[0]!) + 1)
    expect(kept).toEqual(all.slice(-kept.length).map(idOf))
    expect(kept.length).toBeGreaterThan(5)
    expect(kept.length).toBeLessThan(40)
    expect(told.asked('state_ids')).toHaveLength(1)
    await until(() => stage.engine.counters()['searchBytes'] === 0)
  },
)
