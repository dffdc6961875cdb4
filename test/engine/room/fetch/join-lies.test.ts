import { expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { remoteJoin } from '#engine/room/fetch/join.ts'
import {
  changeTemplate,
  failureOf,
  first,
  lying,
  now,
  type Scene,
  scene,
  second,
} from '#test/engine/room/fetch/join-scene.ts'
import { RemoteRoom } from '#test/engine/room/fetch/remote-room.ts'

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

test('of a template nothing is signed but the place in the room (CVE-2026-24471)', async () => {
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

test('what the auth rules forbid is no state (continuwuity 0.5.4)', async () => {
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
