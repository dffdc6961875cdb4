import { expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { answerTooLarge } from '#engine/federation/answer.ts'
import type { Federation, OutgoingRequest } from '#engine/worker/protocol.ts'
import { fetchAuth } from '#engine/room/fetch/auth.ts'
import { fetchBackfill } from '#engine/room/fetch/backfill.ts'
import { fetchMissing } from '#engine/room/fetch/missing.ts'
import { fetchStateBefore } from '#engine/room/fetch/state.ts'
import { idsOf, knownEvents } from '#test/engine/room/fetch/known.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { type Answer, type Question, Residents } from '#test/engine/room/fetch/residents.ts'
import { patienceMs } from '#test/until.ts'

const first = new RemoteServer('first.test')
const second = new RemoteServer('second.test')

/** A room that we know up to some event, after which these were said. */
function scene(version: string, said = 10) {
  const room = new RemoteRoom(version, [first, second])
  room.join(second.user('bob'))
  const known = [...room.events.values()]
  const later = Array.from({ length: said }, (_, count) => room.say(room.creator, String(count)))
  const residents = new Residents([first, second], [room])
  const fetching = {
    federation: residents,
    now: () => 1_700_000_100_000,
    deadlineMs: patienceMs,
    known: knownEvents(known),
    version: room.version,
    roomId: room.roomId,
    servers: [first.name, second.name],
  }
  const last = later.at(-1)!
  const missing = {
    ...fetching,
    from: [known.at(-1)!.eventId],
    to: [last.eventId],
    lacking: last.prevEvents,
    limit: 200,
  }
  return { room, known, later, last, residents, fetching, missing }
}

const silence =
  (server: string) =>
  (question: Question, answer: Answer): Answer | undefined =>
    question.server === server ? undefined : answer

const body =
  (change: (answer: JsonObject, question: Question) => JsonObject, server = first.name) =>
  (question: Question, answer: Answer): Answer =>
    question.server === server
      ? { status: answer.status, body: change(answer.body as JsonObject, question) }
      : answer

test('of events that do not fit into one answer fewer are asked for at once', async () => {
  const { later, residents, missing } = scene('12', 40)
  const limits: number[] = []
  const forward = residents.call as (method: string, ...args: unknown[]) => Promise<unknown>
  const call = ((method: string, request: OutgoingRequest) => {
    if (method !== 'request') return forward(method, request)
    const { limit } = JSON.parse(request.body!) as { limit: number }
    limits.push(limit)
    if (limit > 15) throw new RemoteError(first.name, 200, answerTooLarge, 'It is too large')
    return forward(method, request)
  }) as Federation['call']
  const fetched = await fetchMissing({ ...missing, federation: { call } })
  expect(idsOf(fetched.events)).toEqual(idsOf(later.slice(0, -1)))
  expect(limits).toEqual([100, 15, 100, 15, 100, 15])
})

test('no more bytes are kept than are allowed', async () => {
  const { later, missing } = scene('12', 40)
  const fetched = await fetchMissing({ ...missing, maxBytes: 5_000 })
  const ids = idsOf(fetched.events)
  expect(ids).toEqual(idsOf(later.slice(-1 - ids.length, -1)))
  expect(ids.length).toBeGreaterThan(1)
  expect(ids.length).toBeLessThan(20)
  expect(fetched.lacking).toEqual([later.at(-2 - ids.length)!.eventId])
})

test.each(['1', '6', '12'])('missing events of version %s come oldest first', async (version) => {
  const { later, residents, missing } = scene(version)
  const fetched = await fetchMissing(missing)
  expect(idsOf(fetched.events)).toEqual(idsOf(later.slice(0, -1)))
  expect(fetched).toMatchObject({ rejected: [], dropped: [], lacking: [] })
  expect(residents.asked('get_missing_events')).toHaveLength(1)
  expect(residents.asked('get_missing_events')[0]!.body).toMatchObject({
    earliest_events: missing.from,
    latest_events: missing.to,
  })
})

test('a gap that is longer than an answer is closed in rounds', async () => {
  const { later, residents, missing } = scene('11', 251)
  const fetched = await fetchMissing({ ...missing, limit: 1_000 })
  expect(idsOf(fetched.events)).toEqual(idsOf(later.slice(0, -1)))
  expect(residents.asked('get_missing_events')).toHaveLength(3)
})

test('of a gap that is longer than the limit the newest part comes, and where it ends', async () => {
  const { later, missing } = scene('11', 50)
  const { events, lacking } = await fetchMissing({ ...missing, limit: 20 })
  expect(idsOf(events)).toEqual(idsOf(later.slice(-21, -1)))
  expect(lacking).toEqual([later.at(-22)!.eventId])
})

test('a server that does not know is followed by one that does', async () => {
  const { later, residents, missing } = scene('11')
  residents.lie = body(() => ({ events: [] }))
  expect((await fetchMissing(missing)).events).toHaveLength(later.length - 1)
  residents.lie = (question, answer) =>
    question.server === first.name ? { status: 403, body: {} } : answer
  expect((await fetchMissing(missing)).events).toHaveLength(later.length - 1)
})

test('a server that never answers costs no more than the deadline, and what came is kept', async () => {
  const { later, residents, missing, last } = scene('11', 150)
  let rounds = 0
  residents.lie = (_, answer) => (rounds++ === 0 ? answer : undefined)
  const fetched = await fetchMissing({ ...missing, deadlineMs: 50 })
  expect(idsOf(fetched.events)).toEqual(idsOf(later.slice(-101, -1)))
  residents.lie = silence(first.name)
  const none = await fetchMissing({ ...missing, servers: [first.name], deadlineMs: 20 })
  expect(none).toMatchObject({ events: [], lacking: last.prevEvents })
})

test('what is no ancestor is not taken, however much of it comes', async () => {
  const { room, residents, missing, later } = scene('11')
  const other = new RemoteRoom('11', [first])
  const junk = Array.from({ length: 50 }, (_, count) =>
    room.build({ type: 'm.junk', sender: room.creator, content: { count } }),
  )
  residents.lie = body((answer) => ({
    events: [
      ...junk.map(({ pdu }) => pdu),
      ...[...other.events.values()].map(({ pdu }) => pdu),
      ...(answer['events'] as JsonObject[]),
    ].slice(0, 100),
  }))
  expect(idsOf((await fetchMissing(missing)).events)).toEqual(idsOf(later.slice(0, -1)))
})

test('a list that is longer than was asked for is refused', async () => {
  const { residents, missing } = scene('11')
  residents.lie = body(({ events }) => ({ events: Array(201).fill((events as JsonObject[])[0]!) }))
  const { events } = await fetchMissing({ ...missing, servers: [first.name] })
  expect(events).toEqual([])
})

test('a missing event with a forged signature is lacking still', async () => {
  const { residents, missing, later } = scene('11', 4)
  const forged = later[1]!
  residents.lie = body((answer) => ({
    events: (answer['events'] as JsonObject[]).map((event) =>
      event['depth'] === forged.depth
        ? { ...event, signatures: { [first.name]: { [first.key.keyId]: 'A'.repeat(86) } } }
        : event,
    ),
  }))
  const { events, lacking, dropped } = await fetchMissing(missing)
  expect(idsOf(events)).toEqual(idsOf([later[0]!, later[2]!]))
  expect(lacking).toEqual([forged.eventId])
  expect(dropped.map(({ eventId }) => eventId)).toEqual([forged.eventId])
})

const sorted = (ids: Iterable<string>) => [...ids].sort()

test.each(['1', '10', '12'])('the state before an event of version %s', async (version) => {
  const { room, known, residents, fetching } = scene(version)
  const carol = room.join(second.user('carol'))
  const hello = room.say(carol.sender, 'hello')
  const state = await fetchStateBefore({ ...fetching, eventId: hello.eventId })
  expect(sorted(state!.stateIds)).toEqual(sorted(idsOf(room.stateBefore(hello.eventId))))
  // Only what is new was fetched.
  expect(idsOf(state!.events.accepted)).toEqual([carol.eventId])
  expect(residents.asked('event').map(({ parts }) => parts[0])).toEqual([carol.eventId])
  expect(state).toMatchObject({ server: first.name, lost: [] })
  expect(known).not.toContain(carol)
})

test('when much of the state is new, all of it is fetched at once', async () => {
  const { room, residents, fetching, last } = scene('11')
  const { known: _, ...nothing } = fetching
  for (let count = 0; count < 60; count++) room.join(second.user(`u${count}`))
  const hello = room.say(room.creator, 'hello')
  const state = await fetchStateBefore({ ...nothing, eventId: hello.eventId })
  expect(sorted(state!.stateIds)).toEqual(sorted(idsOf(room.stateBefore(hello.eventId))))
  expect(residents.asked('event')).toEqual([])
  expect(residents.asked('state')).toHaveLength(1)
  // With little of it, event by event, from several servers if need be.
  residents.lie = (question, answer) =>
    question.name === 'event' && question.server === first.name ? { status: 404, body: {} } : answer
  const few = await fetchStateBefore({ ...nothing, eventId: last.eventId })
  expect(few!.lost).toEqual([])
  expect(few!.stateIds).toHaveLength(room.stateBefore(last.eventId).length)
})

test('state that cannot be had, or that the rules forbid, is told as lost', async () => {
  const { room, residents, fetching } = scene('11')
  const bob = second.user('bob')
  const coup = room.send({
    type: 'm.room.power_levels',
    sender: bob,
    stateKey: '',
    content: { users: { [bob]: 100 } },
  })
  const carol = room.join(second.user('carol'))
  const hello = room.say(room.creator, 'hello')
  residents.lie = (question, answer) =>
    question.parts[0] === carol.eventId ? { status: 404, body: {} } : answer
  const state = await fetchStateBefore({ ...fetching, eventId: hello.eventId })
  expect(sorted(state!.lost)).toEqual(sorted([coup.eventId, carol.eventId]))
  expect(idsOf(state!.events.rejected)).toEqual([coup.eventId])
  expect(state!.stateIds).not.toContain(coup.eventId)
})

test('a state of which an event could not be asked for is none', async () => {
  const { room, residents, fetching } = scene('11')
  const carol = room.join(second.user('carol'))
  const hello = room.say(room.creator, 'hello')
  const wanted = { ...fetching, eventId: hello.eventId }
  for (const status of [503, 429]) {
    residents.lie = (question, answer) =>
      question.parts[0] === carol.eventId ? { status, body: {} } : answer
    expect(await fetchStateBefore(wanted)).toBeUndefined()
  }
  // Another server may give it.
  residents.lie = (question, answer) =>
    question.parts[0] === carol.eventId && question.server === first.name
      ? { status: 503, body: {} }
      : answer
  const state = await fetchStateBefore(wanted)
  expect(state).toMatchObject({ server: first.name, lost: [] })
  expect(state!.stateIds).toContain(carol.eventId)
})

test('a state that holds a key twice, or what is no state, is asked of another server', async () => {
  const { room, residents, fetching } = scene('11', 1)
  const bob = second.user('bob')
  const content = { membership: 'join', displayname: 'B' }
  const one = room.send({ type: 'm.room.member', sender: bob, stateKey: bob, content })
  const two = room.send({ type: 'm.room.topic', sender: room.creator, stateKey: '', content: {} })
  const spoken = room.say(bob, 'I am no state')
  const three = room.send({ type: 'm.room.topic', sender: room.creator, stateKey: '', content: {} })
  const hello = room.say(room.creator, 'hello')
  const add = (event: RoomEvent) =>
    body(({ pdu_ids: ids, ...rest }, { name }) =>
      name === 'state_ids' ? { ...rest, pdu_ids: [...(ids as string[]), event.eventId] } : rest,
    )
  for (const event of [two, spoken]) {
    residents.lie = (question, answer) =>
      question.name === 'state_ids' ? add(event)(question, answer) : answer
    const state = await fetchStateBefore({ ...fetching, eventId: hello.eventId })
    expect(state!.server).toBe(second.name)
    expect(state!.stateIds).toContain(three.eventId)
    expect(state!.stateIds).toContain(one.eventId)
  }
})

test('if no server tells the state there is none', async () => {
  const { residents, fetching, last } = scene('11')
  residents.lie = () => undefined
  expect(
    await fetchStateBefore({ ...fetching, eventId: last.eventId, deadlineMs: 20 }),
  ).toBeUndefined()
})

test('missing auth events come with what they cite', async () => {
  const { room, residents, fetching } = scene('11')
  const carol = second.user('carol')
  const before = room.events.size
  room.join(carol)
  room.send({
    type: 'm.room.power_levels',
    sender: room.creator,
    stateKey: '',
    content: { users: { [room.creator]: 100, [carol]: 50 } },
  })
  const topic = room.send({ type: 'm.room.topic', sender: carol, stateKey: '', content: {} })
  const added = [...room.events.values()].slice(before, -1)
  const wanted = { ...fetching, eventIds: topic.authEvents }
  const checked = await fetchAuth(wanted)
  expect(sorted(idsOf(checked.accepted))).toEqual(sorted(idsOf(added)))
  expect(checked.lacking).toEqual([])
  // A server that does not give single events may give the chain.
  residents.lie = (question, answer) =>
    question.name === 'event' ? { status: 404, body: {} } : answer
  expect((await fetchAuth(wanted)).accepted).toEqual([])
  const chain = await fetchAuth({ ...wanted, citedBy: topic.eventId })
  expect(sorted(idsOf(chain.accepted))).toEqual(sorted(idsOf(added)))
})

test('another event than was asked for is not taken for it', async () => {
  const { room, residents, fetching } = scene('11')
  const carol = room.join(second.user('carol'))
  const dave = room.join(second.user('dave'))
  residents.lie = ({ name }, answer) =>
    name === 'event' ? { status: 200, body: { pdus: [dave.pdu] } } : answer
  expect((await fetchAuth({ ...fetching, eventIds: [carol.eventId] })).accepted).toEqual([])
})

test.each(['2', '9', '12'])('a page of history of version %s', async (version) => {
  const { room, residents, fetching, later, last } = scene(version, 30)
  const known = knownEvents([last])
  const page = await fetchBackfill({ ...fetching, known, from: last.prevEvents, limit: 10 })
  // The missing event itself is the newest.
  expect(idsOf(page!.events)).toEqual(idsOf(later.slice(-12, -1)))
  const [oldest] = page!.events
  expect([...page!.states.keys()]).toEqual([oldest!.event.eventId])
  const state = page!.states.get(oldest!.event.eventId)!
  expect(sorted(state.stateIds)).toEqual(sorted(idsOf(room.stateBefore(oldest!.event.eventId))))
  // What the page cites came with the state.
  expect(page!.auth.accepted).toEqual([])
  expect(page!.lacking).toEqual(oldest!.event.prevEvents as string[])
  expect(residents.asked('backfill')).toHaveLength(1)
})

test('history that goes back to the beginning needs no state', async () => {
  const { room, fetching, last } = scene('12', 3)
  const known = knownEvents([last])
  const page = await fetchBackfill({ ...fetching, known, from: [last.eventId], limit: 100 })
  expect(idsOf(page!.events)).toEqual([...room.events.keys()].slice(0, -1))
  expect(page).toMatchObject({ lacking: [], server: first.name })
  expect(page!.states.size).toBe(0)
})

test('an auth event that is in no state comes too', async () => {
  const { room, fetching } = scene('11', 1)
  // Bob was another before his message, and is so again in the state before the page.
  const bob = second.user('bob')
  const old = room.state('m.room.member', bob)!
  room.send({
    type: 'm.room.member',
    sender: bob,
    stateKey: bob,
    content: { membership: 'join', displayname: 'B' },
  })
  const late = room.send({
    type: 'm.room.message',
    sender: bob,
    content: {},
    authEvents: [room.create, room.state('m.room.power_levels', '')!, old],
  })
  const last = room.say(room.creator, 'last')
  const known = knownEvents([last])
  const page = await fetchBackfill({ ...fetching, known, from: [late.eventId], limit: 0 })
  expect(idsOf(page!.events)).toEqual([late.eventId])
  const fetched = [...page!.auth.accepted, ...page!.states.get(late.eventId)!.events.accepted]
  for (const id of late.authEvents) expect(idsOf(fetched)).toContain(id)
})

test('a server that has no history, or none of ours, is followed by another', async () => {
  const { fetching, residents, last } = scene('11', 20)
  const known = knownEvents([last])
  const wanted = { ...fetching, known, from: last.prevEvents, limit: 5 }
  const other = new RemoteRoom('11', [first])
  residents.lie = body(() => ({ pdus: [...other.events.values()].map(({ pdu }) => pdu) }))
  expect((await fetchBackfill(wanted))!.server).toBe(second.name)
  residents.lie = () => ({ status: 404, body: {} })
  expect(await fetchBackfill(wanted)).toBeUndefined()
  residents.lie = () => undefined
  expect(await fetchBackfill({ ...wanted, deadlineMs: 20 })).toBeUndefined()
})
