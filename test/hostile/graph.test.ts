import { expect, test } from 'bun:test'
import type { Json, JsonObject } from '#core/json.ts'
import { Told } from '#test/engine/room/told.ts'
import { alice, say, stored, until } from '#test/room-engine.ts'
import { besiege, evil, good, mallory, never, type Siege } from './siege.ts'

const hasNothing = { status: 404, body: '{}' }
/** What cannot be completed is given up after few attempts, at once. */
const impatient = { attempts: 2, retryMs: 5, inboxPollMs: 5 }

const fate = (siege: Siege, { event }: { event: { eventId: string } }) =>
  stored(siege.database, siege.roomId, event.eventId)
const isEmpty = (siege: Siege) => async () => (await siege.inboxed()) === 0

/** Events that cite what was never sent. */
const dangling = (siege: Siege, count: number) =>
  Array.from({ length: count }, (_, i) => {
    const hidden = siege.room.say(mallory, `hidden ${i}`, { aside: true })
    return siege.room.say(mallory, `${i}`, { prev: [hidden.event.eventId], aside: true })
  })

test('prev_events that never resolve: few wait in memory, and in the end all are dropped', async () => {
  await using siege = await besiege({
    limits: { ...impatient, retryMs: 200, parkedPerOrigin: 20, parkedPerRoom: 30 },
  })
  let ends = false
  const gate = Promise.withResolvers<void>()
  siege.federation.answer = () => (ends ? hasNothing : gate.promise.then(() => hasNothing))
  const many = dangling(siege, 60)
  await siege.attack(many.map(({ text }) => text))
  await until(() => siege.federation.requests.length > 0)
  await siege.othersGoOn(() => siege.federation.requests.length === 1)
  expect(siege.engine.counters()['parked']).toBeLessThanOrEqual(20)

  ends = true
  gate.resolve()
  await until(isEmpty(siege))
  expect(siege.engine.counters()).toMatchObject({ parked: 0, waiting: 0, givenUp: 60 })
  for (const made of many.slice(0, 5)) expect(await fate(siege, made)).toBeUndefined()
  expect(siege.errors).toEqual([])
})

test('a ring of prev_events, which IDs of the sender’s choice make possible, is not waited for', async () => {
  await using siege = await besiege({ version: '1', limits: impatient })
  siege.federation.answer = () => hasNothing
  const ring = (count: number, name: string) =>
    Array.from({ length: count }, (_, i) =>
      siege.room.say(mallory, name, {
        eventId: `$${name}-${i}:evil.test`,
        prev: [`$${name}-${(i + 1) % count}:evil.test`],
        aside: true,
      }),
    )
  const rings = [...ring(1, 'itself'), ...ring(2, 'two'), ...ring(60, 'many')]
  const behind = siege.room.say(mallory, 'behind', {
    prev: ['$two-1:evil.test', '$itself-0:evil.test'],
    aside: true,
  })
  const free = siege.room.say(mallory, 'free', { aside: true })
  await siege.attack([...rings, behind, free].map(({ text }) => text))
  await until(isEmpty(siege))
  expect(siege.engine.counters()).toMatchObject({ parked: 0, waiting: 0, givenUp: 64 })
  // Nobody was asked for what is there.
  expect(siege.federation.requests).toEqual([])
  expect(await fate(siege, free)).toMatchObject({ flags: 0 })
  expect(await fate(siege, behind)).toBeUndefined()
  await siege.othersGoOn(() => true)
})

test('a ring of auth_events does not hang either', async () => {
  await using siege = await besiege({ version: '2', limits: impatient })
  siege.federation.answer = () => hasNothing
  const [create] = siege.room.events.keys()
  const pair = ['a', 'b'].map((name, i) =>
    siege.room.say(mallory, name, {
      eventId: `$auth-${name}:evil.test`,
      auth: [create!, `$auth-${'ba'[i]}:evil.test`],
      aside: true,
    }),
  )
  await siege.attack(pair.map(({ text }) => text))
  await until(isEmpty(siege))
  expect(siege.engine.counters()).toMatchObject({ parked: 0, givenUp: 2 })
  for (const made of pair) expect(await fate(siege, made)).toBeUndefined()
})

test('a chain of auth events that somebody else has signed is not believed', async () => {
  await using siege = await besiege({ limits: impatient })
  const told = new Told(siege.room)
  siege.federation.answer = told.answer
  // An invite by alice that alice never sent, and the join of whoever was so invited.
  const ghost = evil.user('ghost')
  const invite = siege.room.member(alice, ghost, 'invite', { signedBy: evil })
  const join = siege.room.member(ghost, ghost, 'join')
  const speech = siege.room.say(ghost, 'let me in')
  await siege.attack([speech.text])
  await until(isEmpty(siege))
  for (const made of [invite, join, speech]) expect(await fate(siege, made)).toBeUndefined()
  expect(siege.engine.counters()).toMatchObject({ accepted: 0, parked: 0 })
  await siege.othersGoOn(() => true)
})

test('an event that rests on a rejected one is rejected, and becomes no state', async () => {
  await using siege = await besiege()
  const coup = { users: { [mallory]: 100 }, users_default: 0 }
  const seized = siege.room.add(mallory, 'm.room.power_levels', coup, { stateKey: '' })
  const used = siege.room.add(mallory, 'm.room.topic', { topic: 'mine now' }, { stateKey: '' })
  expect(used.event.authEvents).toContain(seized.event.eventId)
  await siege.attack([seized.text, used.text])
  await until(isEmpty(siege))
  for (const made of [seized, used])
    expect(await fate(siege, made)).toMatchObject({ flags: 1, position: null })
  const state = await siege.database.pool`
    select 1 from current_state s join rooms r using (shard, room_nid) join event_ids i
      on i.shard = s.shard and i.event_nid = s.event_nid
    join rejections x on x.shard = s.shard and x.event_nid = s.event_nid
    where r.room_id = ${siege.roomId}`
  expect(state).toHaveLength(0)
  await siege.othersGoOn(() => true)
})

test.each(['1', '5', '6', '12'])(
  'the greatest depth that room version %s can say does not end the room (CVE-2018-10657)',
  async (version) => {
    await using siege = await besiege({ version })
    const isOld = ['1', '5'].includes(version)
    const depths = [Number.MAX_SAFE_INTEGER, ...(isOld ? [0] : [])]
    for (const depth of depths) {
      const deep = siege.room.say(mallory, `${depth}`, { depth })
      await siege.attack([deep.text])
      await until(isEmpty(siege))
      expect(await fate(siege, deep)).toMatchObject({ flags: 0 })
    }
    // What is said on top of it is canonical JSON, and can be sent to everybody.
    const { eventId } = await say(siege, siege.roomId, 'we go on')
    const row = await stored(siege.database, siege.roomId, eventId)
    const { depth } = JSON.parse(row!.json) as { depth: number }
    expect(Number.isSafeInteger(depth)).toBe(true)
    await siege.othersGoOn(() => true)
  },
)

test('a search is given an endless chain: it ends at its bound, and others go on', async () => {
  await using siege = await besiege({
    limits: { ...impatient, missingEvents: 20, requestMs: 60_000 },
  })
  const told = new Told(siege.room)
  const chain = Array.from({ length: 120 }, (_, i) => siege.room.say(mallory, `${i}`))
  const gate = Promise.withResolvers<void>()
  let asked = 0
  siege.federation.answer = async (request) => {
    if (++asked === 2) await gate.promise
    return told.answer(request)
  }
  // Of what is asked for a little is told each time, and the state is not.
  told.lie = ({ name }, reply) => {
    if (name !== 'get_missing_events') return { status: 403, body: {} }
    const { events } = reply.body as { events: Json[] }
    return { status: 200, body: { events: events.slice(-3) } }
  }
  await siege.attack([chain.at(-1)!.text])
  await until(() => asked === 2)
  await siege.othersGoOn(() => asked === 2)
  gate.resolve()
  await until(isEmpty(siege))
  expect(siege.engine.counters()).toMatchObject({ parked: 0, waiting: 0 })
  expect(told.asked('get_missing_events').length).toBeLessThan(40)
})

test('an answer with ten thousand events that nobody asked for is none', async () => {
  await using siege = await besiege({ limits: impatient })
  const [lacking] = dangling(siege, 1)
  const pdu: JsonObject = siege.room.say(mallory, 'unasked', { aside: true }).event.pdu
  const body = JSON.stringify({ events: Array.from({ length: 10_000 }, () => pdu) })
  siege.federation.answer = ({ uri }) =>
    uri.includes('get_missing_events') ? { status: 200, body } : hasNothing
  await siege.attack([lacking!.text])
  await until(isEmpty(siege))
  expect(siege.engine.counters()).toMatchObject({ parked: 0, accepted: 0, givenUp: 1 })
  await siege.othersGoOn(() => true)
})

test('a server that never answers holds up neither its own room nor others', async () => {
  await using siege = await besiege()
  siege.federation.answer = never
  const [lacking] = dangling(siege, 1)
  await siege.attack([lacking!.text])
  await until(() => siege.federation.requests.length > 0)
  const after = siege.room.say(mallory, 'not on top of it', { aside: true })
  await siege.attack([after.text])
  await until(async () => (await fate(siege, after)) !== undefined)
  await siege.othersGoOn(() => siege.engine.counters()['parked'] === 1)
  expect(siege.federation.requests.every(({ destination }) => destination !== good.name)).toBe(true)
})
