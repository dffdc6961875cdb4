import { expect, test } from 'bun:test'
import type { EngineOptions } from '#engine/room/engine.ts'
import { commit } from '#store/room/commit.ts'
import { packEventId } from '#store/room/event-id.ts'
import { type Made } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs } from '#test/until.ts'
import {
  alice,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  say,
  stored,
  until,
} from '#test/room-engine.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'
import { readingOrder } from '#test/engine/room/reading-order.ts'
import { Told } from '#test/engine/room/told.ts'
import { other, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()
const carol = there.user('carol')
const dave = there.user('dave')
const idOf = ({ event }: Made) => event.eventId
const silent = { status: 403, body: { errcode: 'M_FORBIDDEN', error: 'No' } }

type Hidden = (room: Awaited<ReturnType<typeof joinFrom>>) => Made[]

const hello =
  (count: number): Hidden =>
  (room) =>
    Array.from({ length: count }, (_, i) => room.say(carol, `hello ${i}`))

/** A room of which we have missed some events: those are known by the gap before the last alone. */
async function scene(
  hidden: Hidden,
  { version = '12', ...changes }: Partial<EngineOptions> & { version?: string } = {},
) {
  const stage = await openStage(database, [there, other], changes)
  const roomId = await createRoom(stage, version)
  await joinFrom(stage, database, roomId, other, 'eve')
  const room = await joinFrom(stage, database, roomId, there, 'carol')
  const known = await readingOrder(database, roomId)
  const told = new Told(room)
  const missed = hidden(room)
  const last = room.say(carol, 'last')
  stage.federation.answer = told.answer
  told.lie = ({ name }, reply) => (name === 'get_missing_events' ? silent : reply)
  await deliver(stage, database, roomId, there, [last.text])
  await until(async () => (await stored(database, roomId, idOf(last))) !== undefined)
  await until(inboxIsEmpty(database, roomId))
  told.lie = (_, reply) => reply
  told.questions.length = 0
  const backfill = (limit: number, before: string[] = []) =>
    stage.rooms.call('backfill', roomId, before, limit)
  return { stage, roomId, room, known, told, missed, last, backfill }
}

/** The state before an event as it is stored: by type and state key, the event's ID. */
async function stateBefore(
  stage: { engine: Scene['stage']['engine'] },
  roomId: string,
  id: string,
) {
  const { parts } = stage.engine
  const lane = stage.engine.lane(roomId)
  return parts.turns.seat(true).run(
    (function* () {
      const room = (yield* lane.load())!
      const known = (yield* parts.events.byIds(room, [id])).get(id)!
      const state = yield* parts.states.load(room, known)
      const events = yield* parts.events.byNids(
        room,
        [...state].map(([, nid]) => nid),
      )
      return new Set([...state].map(([, nid]) => events.get(nid)!.event.eventId))
    })(),
  )
}
type Scene = Awaited<ReturnType<typeof scene>>

test.each(['1', '6', '12'])(
  'history of 100 events in a room of version %s is read in its order, and has no position',
  async (version) => {
    const { stage, roomId, known, told, missed, last, backfill } = await scene(hello(100), {
      version,
    })
    await using _ = stage
    const gap = `gap ${idOf(missed.at(-1)!)}`
    expect(await readingOrder(database, roomId)).toEqual([...known, gap, idOf(last)])
    expect(await backfill(100, [idOf(missed.at(-1)!)])).toBe(100)
    expect(await readingOrder(database, roomId)).toEqual([
      ...known,
      ...missed.map(idOf),
      idOf(last),
    ])
    const rows = await Promise.all(missed.map((each) => stored(database, roomId, idOf(each))))
    expect(rows.every((row) => row!.flags === 0 && row!.position === null)).toBe(true)
    // From the server of who sent what follows.
    expect([...new Set(told.asked('backfill').map(({ server }) => server))]).toEqual([there.name])
    expect(await backfill(100)).toBe(0)
    expect(stage.errors).toEqual([])
  },
)

test('what is fetched in parts is read in one piece, and the gap moves along', async () => {
  const { stage, roomId, known, missed, last, backfill } = await scene(hello(60))
  await using _ = stage
  expect(await backfill(20)).toBe(21)
  const gap = (at: number) => `gap ${idOf(missed[at]!)}`
  const from = (at: number) => [...missed.slice(at).map(idOf), idOf(last)]
  expect(await readingOrder(database, roomId)).toEqual([...known, gap(38), ...from(39)])
  // A known event whose ancestors are missing says as well where to begin.
  expect(await backfill(20, [idOf(missed[39]!)])).toBe(21)
  expect(await readingOrder(database, roomId)).toEqual([...known, gap(17), ...from(18)])
  // After a restart, too.
  await stage.stop()
  await using again = await openStage(database, [there, other])
  again.federation.answer = stage.federation.answer
  expect(await again.rooms.call('backfill', roomId, [], 100)).toBe(18)
  expect(await readingOrder(database, roomId)).toEqual([...known, ...from(0)])
  expect(again.errors).toEqual([])
})

test('what waits for an event that comes with history goes on, whatever becomes of its own search', async () => {
  const { stage, roomId, room, told, missed, backfill } = await scene(hello(5))
  await using _ = stage
  const end = idOf(missed.at(-1)!)
  const waiting = room.say(carol, 'waits', { prev: [end], aside: true })
  told.lie = ({ name }, reply) => (name === 'get_missing_events' ? undefined : reply)
  await deliver(stage, database, roomId, there, [waiting.text])
  await until(() => stage.engine.counters()['parked'] === 1)
  expect(await backfill(100, [end])).toBe(5)
  await until(async () => (await stored(database, roomId, idOf(waiting))) !== undefined)
  expect(stage.engine.parts.counters.postponed).toBe(0)
  expect(stage.errors).toEqual([])
})

test('twice the same at once is asked once, and nothing comes twice', async () => {
  const { stage, roomId, known, told, missed, last, backfill } = await scene(hello(10))
  await using _ = stage
  const from = [idOf(missed.at(-1)!)]
  expect(await Promise.all([backfill(50, from), backfill(50, from)])).toEqual([10, 10])
  expect(told.asked('backfill')).toHaveLength(1)
  expect(await backfill(50, from)).toBe(0)
  expect(await backfill(50, [idOf(last)])).toBe(0)
  expect(await backfill(50, ['$neither-known-nor-missing'])).toBe(0)
  expect(told.asked('backfill')).toHaveLength(1)
  expect(await readingOrder(database, roomId)).toEqual([...known, ...missed.map(idOf), idOf(last)])
})

test('each event has the state before it, rolled forward from the oldest', async () => {
  const { stage, roomId, told, missed, backfill } = await scene((room) => [
    ...hello(3)(room),
    room.member(dave, dave, 'join'),
    room.say(dave, 'I am here'),
    room.add(carol, 'm.room.message', { body: 'and gone' }),
    room.member(dave, dave, 'leave'),
    ...hello(2)(room),
  ])
  await using _ = stage
  expect(await backfill(5)).toBe(6)
  expect(await backfill(50)).toBe(3)
  for (const each of missed) {
    const expected = new Set(told.stateBefore(idOf(each)).map(({ eventId }) => eventId))
    expect(await stateBefore(stage, roomId, idOf(each))).toEqual(expected)
  }
  // What is current did not change.
  const { eventId } = await say(stage, roomId, 'we go on')
  expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
})

test('branches of history are read one after the other, and their states are merged', async () => {
  const { stage, roomId, known, told, missed, last, backfill } = await scene((room) => {
    const [first] = hello(1)(room) as [Made]
    const left = room.member(dave, dave, 'join', { prev: [idOf(first)] })
    room.state.delete(`m.room.member ${dave}`)
    const fred = there.user('fred')
    const right = room.member(fred, fred, 'join', { prev: [idOf(first)] })
    room.state.set(`m.room.member ${dave}`, left.event)
    const merge = room.say(dave, 'together', { prev: [idOf(left), idOf(right)] })
    return [first, left, right, merge]
  })
  await using _ = stage
  expect(await backfill(50)).toBe(4)
  const order = await readingOrder(database, roomId)
  expect(order.slice(0, known.length + 1)).toEqual([...known, idOf(missed[0]!)])
  expect(order.slice(-2)).toEqual([idOf(missed[3]!), idOf(last)])
  expect(order).toHaveLength(known.length + 5)
  const expected = new Set(told.stateBefore(idOf(missed[3]!)).map(({ eventId }) => eventId))
  expect(await stateBefore(stage, roomId, idOf(missed[3]!))).toEqual(expected)
})

test('rejected events are kept apart, and history goes on behind them', async () => {
  const { stage, roomId, known, missed, last, backfill } = await scene((room) => {
    const auth = room.make(carol, 'm.room.message', {}).event.authEvents
    return [
      ...hello(2)(room),
      room.say(dave, 'I never joined', { auth }),
      ...hello(1)(room),
      room.say(dave, 'nor now', { auth }),
    ]
  })
  await using _ = stage
  const [one, two, bad, three, worst] = missed.map(idOf) as [string, string, string, string, string]
  expect(await backfill(50)).toBe(3)
  expect(await readingOrder(database, roomId)).toEqual([...known, one, two, three, idOf(last)])
  for (const id of [bad, worst])
    expect(await stored(database, roomId, id)).toMatchObject({ flags: 1, chain: null })
  expect(await missingOf(roomId)).toEqual([])
})

test('a rejected event at the end of a page passes the gap on', async () => {
  const { stage, roomId, known, missed, last, backfill } = await scene((room) => {
    const auth = room.make(carol, 'm.room.message', {}).event.authEvents
    return [...hello(4)(room), room.say(dave, 'I never joined', { auth }), ...hello(2)(room)]
  })
  await using _ = stage
  const ids = missed.map(idOf)
  // The oldest of this page is the rejected one.
  expect(await backfill(2)).toBe(2)
  expect(await readingOrder(database, roomId)).toEqual([
    ...known,
    `gap ${ids[3]}`,
    ...ids.slice(5),
    idOf(last),
  ])
  expect(await missingOf(roomId)).toEqual([ids[3]!])
  expect(await backfill(50)).toBe(4)
  expect(await readingOrder(database, roomId)).toEqual([
    ...known,
    ...ids.slice(0, 4),
    ...ids.slice(5),
    idOf(last),
  ])
})

test('a redaction is in effect when its target comes with history', async () => {
  const { stage, roomId, missed, backfill } = await scene((room) => {
    const said = room.say(carol, 'never mind')
    const content = { redacts: idOf(said) }
    return [said, ...hello(2)(room), room.add(carol, 'm.room.redaction', content)]
  })
  await using _ = stage
  const applied = async () => {
    const rows = await database.pool<{ applied: boolean }[]>`
      select applied from redactions where target_id = ${Buffer.from(packEventId(idOf(missed[0]!)))}`
    return rows.map((row) => row.applied)
  }
  expect(await backfill(1)).toBe(2)
  expect(await applied()).toEqual([false])
  expect(await backfill(50)).toBe(2)
  expect(await applied()).toEqual([true])
  expect(await stored(database, roomId, idOf(missed[0]!))).toMatchObject({ flags: 0 })
})

test('a server that lies gives nothing, and the next one is asked', async () => {
  const { stage, roomId, room, known, told, missed, last, backfill } = await scene(hello(5))
  await using _ = stage
  const elsewhere = await createRoom(stage)
  const foreign = await joinFrom(stage, database, elsewhere, there, 'carol')
  const lies = [
    foreign.say(carol, 'of another room'),
    room.say(carol, 'of another branch', { prev: room.heads, aside: true }),
    room.make(carol, 'm.room.message', {}, { signedBy: other }),
  ]
  told.lie = ({ server, name }, reply) => {
    if (server !== there.name) return reply
    return name === 'backfill'
      ? { status: 200, body: { pdus: lies.map(({ event }) => event.pdu) } }
      : silent
  }
  expect(await backfill(50)).toBe(5)
  expect(told.asked('backfill').map(({ server }) => server)).toEqual([there.name, other.name])
  expect(await readingOrder(database, roomId)).toEqual([...known, ...missed.map(idOf), idOf(last)])
  for (const lie of lies) expect(await stored(database, roomId, idOf(lie))).toBeUndefined()
})

test('a page whose state cannot be had is not taken, and is asked for again later', async () => {
  const { stage, roomId, known, told, missed, last, backfill } = await scene(hello(30))
  await using _ = stage
  told.lie = ({ name }, reply) => (name.startsWith('state') ? silent : reply)
  expect(await backfill(10)).toBe(0)
  const gap = `gap ${idOf(missed.at(-1)!)}`
  expect(await readingOrder(database, roomId)).toEqual([...known, gap, idOf(last)])
  told.lie = (_, reply) => reply
  expect(await backfill(50)).toBe(30)
  expect(await readingOrder(database, roomId)).toEqual([...known, ...missed.map(idOf), idOf(last)])
})

test('a server that does not answer holds up nobody, and another is asked after it', async () => {
  const { stage, roomId, told, missed, backfill } = await scene(hello(5), {
    limits: { pageMs: patienceMs, backfillMs: patienceMs },
  })
  await using _ = stage
  const givesUp = Promise.withResolvers<void>()
  stage.federation.answer = async (request) => {
    const answer = told.answer(request)
    if (request.destination !== there.name) return answer
    await givesUp.promise
    return { status: 504, body: '' }
  }
  const fetched = backfill(50, [idOf(missed.at(-1)!)])
  await until(() => told.questions.length > 0)
  await say(stage, roomId, 'we go on')
  expect(told.questions).toHaveLength(1)
  givesUp.resolve()
  expect(await fetched).toBe(5)
})

test('a server that never answers is left at the deadline for another', async () => {
  const { stage, told, missed, backfill } = await scene(hello(5), {
    limits: { pageMs: 20, backfillMs: patienceMs },
  })
  await using _ = stage
  told.lie = ({ server }, reply) => {
    if (server !== there.name) return reply
    // The next one has time.
    stage.engine.parts.limits.pageMs = patienceMs
    return undefined
  }
  expect(await backfill(50, [idOf(missed.at(-1)!)])).toBe(5)
})

test.each(['1', '5', '11', '12'])(
  'history from before our join goes back to the beginning, in version %s',
  async (version) => {
    const servers = ['first.test', 'second.test'].map((name) => new RemoteServer(name))
    const room = new RemoteRoom(version, servers)
    const fred = servers[1]!.user('fred')
    room.join(fred)
    for (let i = 0; i < 60; i++) room.say(i % 2 ? fred : room.creator, `hello ${i}`)
    const federation = new Residents(servers, [room])
    await using stage = await openStage(database, [], { federation })
    const request = { userId: alice, content: '{}', via: [servers[0]!.name] }
    const joined = await stage.rooms.call('join', room.roomId, request)
    const all = [...room.events.keys()]
    expect(await readingOrder(database, room.roomId)).toEqual([`gap ${all.at(-1)}`, joined.eventId])
    expect(await stage.rooms.call('backfill', room.roomId, [all.at(-1)!], 10)).toBe(11)
    expect(await stage.rooms.call('backfill', room.roomId, [], 500)).toBe(all.length - 11)
    expect(await readingOrder(database, room.roomId)).toEqual([...all, joined.eventId])
    for (const id of all)
      expect(await stateBefore(stage, room.roomId, id)).toEqual(
        new Set(room.stateBefore(id).map(({ eventId }) => eventId)),
      )
    // Nothing was fetched that the join had brought.
    expect(federation.asked('event')).toEqual([])
    expect(stage.errors).toEqual([])
  },
)

test('when commits fail a page is decided again, and is there once', async () => {
  let failing = false
  let failed = 0
  const { stage, roomId, known, missed, last, backfill } = await scene(
    (room) => [room.member(dave, dave, 'join'), ...hello(20)(room)],
    {
      commit: async (pool, batch) => {
        // No two events at once; nor the first, should it come alone.
        if (failing && (failed === 0 || batch.parts.some(({ events }) => events.length > 1)))
          throw new Error(`failure ${++failed}`)
        await commit(pool, batch)
      },
    },
  )
  await using _ = stage
  failing = true
  expect(await backfill(50)).toBe(21)
  expect(await readingOrder(database, roomId)).toEqual([...known, ...missed.map(idOf), idOf(last)])
  for (const each of missed.slice(1))
    expect(await stateBefore(stage, roomId, idOf(each))).toContain(idOf(missed[0]!))
  expect(stage.errors.length).toBeGreaterThan(0)
})

test('a room that we are not in has no history to fetch', async () => {
  await using stage = await openStage(database, [there])
  expect(await stage.rooms.call('backfill', '!nowhere:there.test', [], 10)).toBe(0)
  const roomId = await createRoom(stage)
  expect(await stage.rooms.call('backfill', roomId, [], 10)).toBe(0)
  expect(stage.federation.requests).toEqual([])
})

async function missingOf(roomId: string): Promise<string[]> {
  const rows = await database.pool<{ event_id: Uint8Array }[]>`
    select distinct m.event_id from missing_prevs m join rooms r using (shard, room_nid)
    where r.room_id = ${roomId}`
  return rows.map((row) => `$${Buffer.from(row.event_id).toString('base64url')}`)
}
