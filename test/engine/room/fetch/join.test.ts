import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { MatrixError } from '#core/error.ts'
import { parsePdu } from '#core/event/check.ts'
import type { JsonObject } from '#core/json.ts'
import { roomVersions } from '#core/room-version.ts'
import { signaturesOf } from '#core/signing.ts'
import type { RemoteJoin, SignedJoin } from '#engine/room/fetch/fetching.ts'
import { remoteJoin, resumeJoin } from '#engine/room/fetch/join.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { type Answer, type Question, Residents } from '#test/engine/room/fetch/residents.ts'

const us = new RemoteServer('us.test')
const first = new RemoteServer('first.test')
const second = new RemoteServer('second.test')
const now = 1_700_000_100_000
const userId = us.user('alice')

type Scene = { room: RemoteRoom; residents: Residents; signed: SignedJoin[]; join: RemoteJoin }

function scene(version: string, joinRules?: JsonObject): Scene {
  const room = new RemoteRoom(version, [first, second], joinRules ? { joinRules } : {})
  room.say(room.creator, 'hello')
  const residents = new Residents([us, first, second], [room])
  const signed: SignedJoin[] = []
  const join: RemoteJoin = {
    federation: residents,
    now: () => now,
    deadlineMs: 5_000,
    roomId: room.roomId,
    userId,
    content: { displayname: 'Alice' },
    via: [first.name, second.name],
    signing: us.signing,
    onSigned: (each) => {
      signed.push(each)
      return Promise.resolve()
    },
  }
  return { room, residents, signed, join }
}

/** Why a join failed, which it must. */
async function failureOf(join: RemoteJoin): Promise<MatrixError> {
  const error = await remoteJoin(join).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (error instanceof MatrixError) return error
  throw new Error(`no MatrixError but ${String(error)}`)
}

/** The first server changes its answers to one kind of question. */
function lying(name: string, change: (body: JsonObject, question: Question) => JsonObject) {
  return (question: Question, answer: Answer): Answer =>
    question.name === name && question.server === first.name
      ? { status: 200, body: change(structuredClone(answer.body) as JsonObject, question) }
      : answer
}

const changeTemplate = (change: (event: JsonObject) => JsonObject) =>
  lying('make_join', (body) => ({ ...body, event: change(body['event'] as JsonObject) }))

test.each(['1', '2', '3', '6', '8', '10', '11', '12'])(
  'a user joins a room of version %s',
  async (version) => {
    const { room, residents, signed, join } = scene(version)
    const joined = await remoteJoin(join)
    expect(joined.version.id).toBe(version)
    expect(joined.create.eventId).toBe(room.create.eventId)
    expect(joined.state.map(({ eventId }) => eventId).sort()).toEqual(
      room
        .currentState()
        .map(({ eventId }) => eventId)
        .sort(),
    )
    expect(joined.join.content).toEqual({ displayname: 'Alice', membership: 'join' })
    expect(joined.servers).toEqual([first.name])
    expect(joined.server).toBe(first.name)
    const parsed = parsePdu(room.version, parseJson(joined.json))
    expect(parsed).toMatchObject({ ok: { eventId: joined.join.eventId, roomId: room.roomId } })
    // It was made durable before it was handed in.
    expect(signed).toEqual([{ version, event: joined.json, via: [first.name, second.name] }])
    expect(residents.questions.map(({ name }) => name)).toEqual(['make_join', 'send_join'])
    expect(residents.asked('send_join')[0]!.query.has('omit_members')).toBe(false)
    expect(residents.keyCalls).toHaveLength(1)
  },
)

test('the auth chain comes parents first, each event once, the state among it', async () => {
  const { room, join } = scene('10')
  for (let count = 0; count < 5; count++) room.join(second.user(`u${count}`))
  const { authChain, state } = await remoteJoin(join)
  const ids = authChain.map(({ eventId }) => eventId)
  expect(new Set(ids).size).toBe(ids.length)
  for (const [index, event] of authChain.entries())
    for (const id of event.authEvents) expect(ids.slice(0, index)).toContain(id)
  for (const { eventId } of state) expect(ids).toContain(eventId)
})

test('servers of joined members are servers of the room', async () => {
  const { room, join } = scene('11')
  room.join(second.user('bob'))
  expect((await remoteJoin(join)).servers.sort()).toEqual([first.name, second.name])
})

test('a restricted join counts with the signature of the server that authorises it', async () => {
  const { join, residents } = scene('10', { join_rule: 'restricted', allow: [] })
  const joined = await remoteJoin(join)
  expect(joined.join.content['join_authorised_via_users_server']).toBe(first.user('creator'))
  expect(signaturesOf(joined.join.pdu, first.name)).toHaveLength(1)
  expect(signaturesOf(joined.join.pdu, us.name)).toHaveLength(1)
  expect(parseJson(joined.json)).toEqual(joined.join.pdu)
  // Without that signature, or with a wrong one, it is no join.
  residents.lie = lying('send_join', ({ event: _, ...body }) => body)
  expect((await failureOf(join)).status).toBe(502)
  residents.lie = lying('send_join', (body, { body: sent }) => ({ ...body, event: sent! }))
  expect((await failureOf(join)).message).toContain('first.test has not signed')
  residents.lie = lying('send_join', (body) => {
    const event = body['event'] as { signatures: JsonObject }
    const [signature] = Object.values(event.signatures[us.name] as JsonObject)
    event.signatures[first.name] = { [first.key.keyId]: signature! }
    return body
  })
  expect((await failureOf(join)).message).toContain('first.test has not signed')
})

test('a restricted join that comes back as another event is refused', async () => {
  const { join, residents } = scene('11', { join_rule: 'restricted', allow: [] })
  residents.lie = lying('send_join', (body) => {
    const event = body['event'] as JsonObject
    return { ...body, event: { ...event, content: { membership: 'join', displayname: 'Eve' } } }
  })
  expect((await failureOf(join)).message).toContain('another event')
})

test.each([
  ['type', { type: 'm.room.power_levels' }],
  ['room_id', { room_id: '!other:first.test' }],
  ['sender', { sender: '@bob:us.test' }],
  ['state_key', { state_key: '@bob:us.test' }],
  ['membership', { content: { membership: 'ban' } }],
  ['membership', { content: {} }],
  ['prev_events', { prev_events: [] }],
  ['prev_events', { prev_events: ['!no'] }],
  ['prev_events', { prev_events: Array.from({ length: 21 }, (_, n) => `$${n}`.padEnd(44, 'A')) }],
  ['auth_events', { auth_events: { length: 0 } }],
  ['auth_events', { auth_events: Array(2).fill('$'.padEnd(44, 'A')) as string[] }],
  ['depth', { depth: -1 }],
  ['depth', { depth: 'deep' }],
])('a template with another %s is not signed', async (what, change) => {
  const { join, residents, signed } = scene('11')
  residents.lie = changeTemplate((event) => ({ ...event, ...change }))
  const failure = await failureOf({ ...join, via: [first.name] })
  expect(failure).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
  expect(failure.message).toContain(what)
  expect(signed).toEqual([])
  // Another server may be honest.
  expect((await remoteJoin(join)).server).toBe(second.name)
})

test('of a template nothing is signed but the place in the room', async () => {
  const { join, residents, signed } = scene('6')
  residents.lie = changeTemplate((event) => ({
    ...event,
    evil: true,
    redacts: '$x',
    origin_server_ts: 5,
    origin: 'evil.test',
    content: { membership: 'join', reason: 'I am a fool', displayname: 'Eve' },
  }))
  const { content, pdu } = (await remoteJoin(join)).join
  expect(content).toEqual({ displayname: 'Alice', membership: 'join' })
  expect(Object.keys(pdu)).not.toContain('evil')
  expect(pdu.origin_server_ts).toBe(now)
  expect(signed).toHaveLength(1)
})

test('hashes of prev_events may carry nothing else into a signed event of version 1', async () => {
  const { join, residents } = scene('1')
  residents.lie = changeTemplate((event) => ({
    ...event,
    prev_events: (event['prev_events'] as [string, JsonObject][]).map(([id, hashes]) => [
      id,
      { ...hashes, evil: 'I owe you' },
    ]),
  }))
  expect((await remoteJoin(join)).json).not.toContain('evil')
})

test('a room version that was not offered is not signed', async () => {
  const { join, residents, signed } = scene('10')
  residents.lie = lying('make_join', (body) => ({ ...body, room_version: '99' }))
  expect((await failureOf({ ...join, via: [first.name] })).status).toBe(502)
  const failure = await failureOf({ ...scene('10').join, versions: ['11', '12'] })
  expect(failure.toJSON()).toMatchObject({
    errcode: 'M_INCOMPATIBLE_ROOM_VERSION',
    room_version: '10',
  })
  expect(signed).toEqual([])
})

const badAnswers: [string, string, (body: JsonObject, scene: Scene) => JsonObject][] = [
  ['without a create event', 'create event', dropFromState('m.room.create')],
  ['without state', 'create event', (body) => ({ ...body, state: [] })],
  ['with members left out', 'members', (body) => ({ ...body, members_omitted: true })],
  ['whose join rule is not there', 'let you in', dropFromState('m.room.join_rules')],
  [
    'with a state key twice',
    'two events',
    (body, { room }) => {
      const { creator } = room
      const content = { membership: 'join', displayname: 'Other' }
      const other = room.build({
        type: 'm.room.member',
        sender: creator,
        stateKey: creator,
        content,
      })
      return { ...body, state: [...(body['state'] as JsonObject[]), other.pdu] }
    },
  ],
  [
    'with state that is none',
    'which is none',
    (body, { room }) => ({
      ...body,
      state: [...(body['state'] as JsonObject[]), room.tips[0]!.pdu],
    }),
  ],
]

function dropFromState(type: string) {
  return (body: JsonObject): JsonObject => ({
    ...body,
    state: (body['state'] as JsonObject[]).filter((event) => event['type'] !== type),
  })
}

test.each(badAnswers)('an answer %s is refused', async (_, reason, change) => {
  for (const version of ['1', '6', '12']) {
    const all = scene(version)
    all.residents.lie = lying('send_join', (body) => change(body, all))
    const failure = await failureOf({ ...all.join, via: [first.name] })
    expect(failure).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
    expect(failure.message).toContain(reason)
    // The next server is asked with a template of its own.
    expect((await remoteJoin(all.join)).server).toBe(second.name)
  }
})

test('events of another room are no state of this one', async () => {
  for (const version of ['11', '12']) {
    const all = scene(version)
    const other = new RemoteRoom(version, [second, first])
    all.residents.lie = lying('send_join', (body) => ({
      ...body,
      state: other.currentState().map(({ pdu }) => pdu),
      auth_chain: other.currentState().map(({ pdu }) => pdu),
    }))
    const failure = await failureOf({ ...all.join, via: [first.name] })
    expect(failure.message).toContain('create event')
  }
})

test('a forged signature loses only the event that it is on', async () => {
  const all = scene('11')
  const bob = second.user('bob')
  all.room.join(bob)
  all.residents.lie = lying('send_join', (body) => ({
    ...body,
    state: (body['state'] as JsonObject[]).map((event) =>
      event['state_key'] === bob
        ? { ...event, signatures: { [second.name]: { [second.key.keyId]: 'A'.repeat(86) } } }
        : event,
    ),
  }))
  const { state } = await remoteJoin(all.join)
  expect(state).toHaveLength(all.room.currentState().length - 1)
  expect(state.map(({ stateKey }) => stateKey)).not.toContain(bob)
})

test('of an event with a wrong hash the redacted copy is taken', async () => {
  const all = scene('11')
  const type = 'm.room.join_rules'
  all.residents.lie = lying('send_join', (body) => ({
    ...body,
    state: (body['state'] as JsonObject[]).map((event) =>
      event['type'] === type
        ? { ...event, content: { ...(event['content'] as JsonObject), evil: 1 } }
        : event,
    ),
  }))
  const { state } = await remoteJoin(all.join)
  expect(state.find((event) => event.type === type)!.content).toEqual({ join_rule: 'public' })
})

test('what the auth rules forbid is no state', async () => {
  const all = scene('10')
  const bob = second.user('bob')
  all.room.join(bob)
  const coup = all.room.build({
    type: 'm.room.power_levels',
    sender: bob,
    stateKey: '',
    content: { users: { [bob]: 100 } },
  })
  all.residents.lie = lying('send_join', (body) => ({
    ...body,
    state: (body['state'] as JsonObject[]).map((event) =>
      event['type'] === 'm.room.power_levels' ? coup.pdu : event,
    ),
  }))
  const { state, rejected } = await remoteJoin(all.join)
  expect(state.map(({ eventId }) => eventId)).not.toContain(coup.eventId)
  expect(rejected.map(({ event }) => event.eventId)).toEqual([coup.eventId])
})

test('a cycle in the auth chain of a version 1 room is refused, and does not hang', async () => {
  const all = scene('1')
  const { room } = all
  const wish = { type: 'm.room.topic', sender: room.creator, content: {} }
  // Only IDs that are no hashes can cite each other: the second is built to be cited by the first.
  const later = { ...room.create, eventId: `$later:${first.name}` }
  const one = room.build({ ...wish, stateKey: 'one', authEvents: [room.create, later] })
  const two = room.build({ ...wish, stateKey: 'two', authEvents: [room.create, one] })
  const cyclic = { ...one.pdu, auth_events: two.pdu['auth_events']! }
  ;(cyclic['auth_events'] as [string, JsonObject][])[1]![0] = one.eventId
  all.residents.lie = lying('send_join', (body) => ({
    ...body,
    auth_chain: [...(body['auth_chain'] as JsonObject[]), cyclic, two.pdu],
  }))
  const { authChain } = await remoteJoin(all.join)
  const ids = authChain.map(({ eventId }) => eventId)
  expect(ids).not.toContain(one.eventId)
  expect(ids).not.toContain(two.eventId)
  expect(authChain).toHaveLength(room.currentState().length)
})

test('what servers refuse is told as they told it', async () => {
  const { join, residents } = scene('11')
  const all = (status: number, errcode: string) => () => ({
    status,
    body: { errcode, error: 'because' },
  })
  residents.lie = all(403, 'M_FORBIDDEN')
  expect(await failureOf(join)).toMatchObject({ status: 403, errcode: 'M_FORBIDDEN' })
  residents.lie = all(404, 'M_NOT_FOUND')
  expect(await failureOf(join)).toMatchObject({ status: 404, errcode: 'M_NOT_FOUND' })
  residents.lie = all(400, 'M_UNABLE_TO_GRANT_JOIN')
  expect(await failureOf(join)).toMatchObject({ status: 400, errcode: 'M_UNABLE_TO_GRANT_JOIN' })
  residents.lie = all(400, 'M_MISSING_PARAM')
  expect(await failureOf(join)).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
  residents.lie = all(500, 'M_UNKNOWN')
  expect(await failureOf(join)).toMatchObject({ status: 502, errcode: 'M_UNKNOWN' })
  expect(await failureOf({ ...join, via: [] })).toMatchObject({ status: 404 })
})

test('no more servers are asked when three have refused', async () => {
  const { join, residents } = scene('11')
  residents.lie = () => ({ status: 403, body: { errcode: 'M_FORBIDDEN', error: 'No' } })
  await failureOf({ ...join, via: ['a.test', 'b.test', 'c.test', 'd.test', 'e.test'] })
  expect(residents.questions).toHaveLength(3)
})

test('a server that never answers costs no more than the deadline', async () => {
  const { join, residents } = scene('11')
  residents.lie = () => undefined
  const failure = await failureOf({ ...join, deadlineMs: 50 })
  expect(failure).toMatchObject({ status: 504, errcode: 'M_UNKNOWN' })
})

test('a join that one server loses is handed in at another', async () => {
  const { join, residents, signed } = scene('11')
  residents.lie = ({ name, server }, answer) =>
    name === 'send_join' && server === first.name ? { status: 502, body: {} } : answer
  const joined = await remoteJoin(join)
  expect(joined.server).toBe(second.name)
  expect(signed).toHaveLength(1)
  expect(residents.asked('make_join')).toHaveLength(1)
})

test('a restricted join is handed in nowhere but at the server that authorises it', async () => {
  const { join, residents } = scene('10', { join_rule: 'restricted', allow: [] })
  residents.lie = ({ name }, answer) => (name === 'send_join' ? { status: 502, body: {} } : answer)
  await failureOf({ ...join, via: [first.name] })
  expect(residents.asked('send_join').map(({ server }) => server)).toEqual([first.name])
})

test('if the signed join cannot be made durable it is not handed in', async () => {
  const { join, residents } = scene('11')
  const onSigned = () => Promise.reject(new Error('the disk is full'))
  await expect(remoteJoin({ ...join, onSigned })).rejects.toThrow('the disk is full')
  expect(residents.asked('send_join')).toEqual([])
})

test('a join that was signed before a restart is handed in again as it was', async () => {
  const { join, signed, residents } = scene('12')
  const before = await remoteJoin(join)
  const after = await resumeJoin({ ...join, signed: signed[0]! })
  expect(after.json).toBe(before.json)
  expect(residents.asked('make_join')).toHaveLength(1)
  expect(signed).toHaveLength(1)
})

test('a user may want too much in a join', async () => {
  const { join } = scene('11')
  const failure = await failureOf({ ...join, content: { reason: 'x'.repeat(70_000) } })
  expect(failure).toMatchObject({ status: 413, errcode: 'M_TOO_LARGE' })
  expect(await failureOf({ ...join, content: { half: 0.5 } })).toMatchObject({ status: 400 })
})

test('the versions offered are those that we know', async () => {
  const { join, residents } = scene('11')
  await remoteJoin(join)
  expect(residents.asked('make_join')[0]!.query.getAll('ver')).toEqual([...roomVersions.keys()])
})
