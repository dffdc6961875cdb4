import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const { story } = home

const path = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync'
const ask = ({ client }: Pick<Person, 'client'>, body: unknown, query = '') =>
  client.post(`${path}${query}`, body)

/** What Element X asks for when it starts. */
const roomList = (range: [number, number]) => ({
  conn_id: 'room-list',
  lists: {
    all_rooms: {
      ranges: [range],
      timeline_limit: 1,
      required_state: [
        ['m.room.name', ''],
        ['m.room.encryption', ''],
        ['m.room.member', '$LAZY'],
        ['m.room.member', '$ME'],
        ['m.room.topic', ''],
        ['m.room.create', ''],
      ],
      filters: { is_invite: null, not_room_types: ['m.space'] },
    },
  },
  room_subscriptions: {},
  extensions: {
    account_data: { enabled: true },
    receipts: { enabled: true, rooms: ['*'] },
    typing: { enabled: true },
    'x.unknown': { enabled: true },
  },
})
const list = (more: object = {}) => ({
  lists: { all: { ranges: [[0, 9]], timeline_limit: 1, required_state: [], ...more } },
})

describe('sliding sync', () => {
  test('is offered', async () => {
    const { body } = await home.client.get('/_matrix/client/versions')
    expect(body.unstable_features).toMatchObject({ 'org.matrix.simplified_msc3575': true })
  })

  test('is told a client as it starts, grows its window, and waits', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const room = await story.room(alice.userId)
    await room.member(bob.userId, 'join')
    await room.send(bob.userId, 'hello')
    const other = await story.room(alice.userId)
    const first = await ask(alice, roomList([0, 0]))
    expect(first.status).toBe(200)
    expect(first.body.lists).toMatchObject({ all_rooms: { count: 2 } })
    expect(Object.keys(first.body.rooms)).toEqual([other.roomId])
    const grown = await ask(alice, roomList([0, 19]), `?pos=${first.body.pos}&timeout=0`)
    expect(Object.keys(grown.body.rooms)).toEqual([room.roomId])
    const told = grown.body.rooms[room.roomId]
    expect(told).toMatchObject({
      initial: true,
      joined_count: 2,
      limited: true,
      heroes: [{ user_id: bob.userId }],
      timeline: [{ sender: bob.userId, content: { body: 'hello' } }],
    })
    expect(told.timeline[0]).not.toHaveProperty('room_id')
    expect(told.required_state.map((each: { type: string }) => each.type).sort()).toEqual([
      'm.room.create',
      'm.room.member',
      'm.room.member',
    ])
    expect(told.timeline[0].unsigned.age).toBeNumber()
    expect(Object.keys(grown.body.extensions).sort()).toEqual([
      'account_data',
      'receipts',
      'typing',
    ])
    // Where the room went on before is read as ever.
    const older = await alice.client.get(
      `/rooms/${room.roomId}/messages?dir=b&limit=1&from=${told.prev_batch}`,
    )
    expect(older.body.chunk[0]).toMatchObject({ state_key: bob.userId })
    const waiting = ask(alice, roomList([0, 19]), `?pos=${grown.body.pos}&timeout=60000`)
    await room.send(bob.userId, 'wake up')
    expect((await waiting).body.rooms[room.roomId]).toMatchObject({
      limited: false,
      num_live: 1,
      timeline: [{ content: { body: 'wake up' } }],
    })
  })

  test('tells the messages of another device once they are acknowledged no more', async () => {
    const alice = await home.person('alice')
    const send = (n: number) =>
      alice.client.put(`/sendToDevice/m.test/${n}`, {
        messages: { [alice.userId]: { [alice.deviceId]: { n } } },
      })
    const body = (since?: string) => ({
      conn_id: 'encryption',
      extensions: { to_device: { enabled: true, since }, e2ee: { enabled: true } },
    })
    expect((await send(1)).status).toBe(200)
    const first = (await ask(alice, body())).body.extensions
    expect(first.to_device.events).toMatchObject([{ type: 'm.test', content: { n: 1 } }])
    expect(first.e2ee.device_one_time_keys_count).toEqual({ signed_curve25519: 0 })
    await send(2)
    const second = (await ask(alice, body(first.to_device.next_batch))).body.extensions
    expect(second.to_device.events).toMatchObject([{ content: { n: 2 } }])
  })

  test('knows a token for the device that it was given to alone', async () => {
    const [alice, mallory] = [await home.person('alice'), await home.person('mallory')]
    const room = await story.room(alice.userId)
    const { pos } = (await ask(alice, list())).body
    const other = await home.logIn(alice.userId, { deviceId: 'OTHER' })
    for (const who of [mallory, other]) {
      const { status, body } = await ask(who, list(), `?pos=${pos}`)
      expect([status, body.errcode]).toEqual([400, 'M_UNKNOWN_POS'])
    }
    expect((await ask(mallory, list())).body.rooms).toEqual({})
    expect((await ask(alice, list(), `?pos=${pos}`)).body.rooms).toEqual({})
    expect(room.roomId).toStartWith('!')
    const { status, body } = await ask(alice, list(), '?pos=s12_34')
    expect([status, body.errcode]).toEqual([400, 'M_UNKNOWN_POS'])
  })

  test('serves the suspended, as /sync does', async () => {
    const sue = await home.person('sue')
    const room = await story.room(sue.userId)
    await home.ctx.accounts.change(sue.userId, { suspended: true })
    const { status, body } = await ask(sue, list())
    expect([status, Object.keys(body.rooms)]).toEqual([200, [room.roomId]])
  })

  test('asks who it is', async () => {
    expect((await ask(home, list())).status).toBe(401)
  })

  test('refuses what is malformed or beyond its bounds, and answers to the rest', async () => {
    const alice = await home.person('alice')
    const room = await story.room(alice.userId)
    const many = <T>(count: number, each: T): T[] => Array.from({ length: count }, () => each)
    const named = (count: number, each: unknown) =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [`n${index}`, each]))
    const config = { timeline_limit: 1, required_state: [] }
    const bad: unknown[] = [
      [],
      { lists: [] },
      { lists: { all: {} } },
      { lists: { all: { timeline_limit: 1 } } },
      list({ timeline_limit: 1001 }),
      list({ timeline_limit: -1 }),
      list({ timeline_limit: 'x' }),
      list({ required_state: [['m.room.name']] }),
      list({ required_state: [['m.room.name', 7]] }),
      list({ required_state: many(201, ['a', 'b']) }),
      list({ required_state: [['x'.repeat(256), '']] }),
      list({ ranges: [[0]] }),
      list({ ranges: [[-1, 2]] }),
      list({ ranges: [[0, 1.5]] }),
      list({ ranges: many(21, [0, 1]) }),
      list({ filters: { is_dm: 'yes' } }),
      list({ filters: { tags: many(201, 'x') } }),
      { lists: named(101, config) },
      { lists: { ['x'.repeat(65)]: config } },
      { room_subscriptions: named(1001, config) },
      { room_subscriptions: { '!x:y': {} } },
      { conn_id: 7 },
      { conn_id: 'x'.repeat(65) },
      { extensions: { to_device: { enabled: true, since: 'abc' } } },
      { extensions: { to_device: { enabled: true, since: '9'.repeat(16) } } },
      { extensions: { receipts: { enabled: 1 } } },
    ]
    const answers = []
    for (const body of bad) {
      const { status, body: error } = await ask(alice, body)
      answers.push([
        JSON.stringify(body).slice(0, 60),
        status,
        error.errcode?.startsWith('M_') === true,
      ])
    }
    expect(answers).toEqual(answers.map(([text]) => [text!, 400, true]))
    for (const query of ['?timeout=-1', '?timeout=x', `?pos=${'x'.repeat(101)}`])
      expect((await ask(alice, list(), query)).status).toBe(400)
    const good: unknown[] = [
      {},
      { lists: null, room_subscriptions: null, extensions: null },
      list({ ranges: [[5, 2]] }),
      list({ ranges: [[0, 2 ** 52]] }),
      list({ ranges: null, slow_get_all_rooms: true, timeline_limit: 1000 }),
      list({ required_state: [['a\0b', 'c']], filters: { tags: ['a\0b'], spaces: ['a\0b'] } }),
      JSON.parse(`{ "lists": { "__proto__": ${JSON.stringify(config)} } }`),
      { room_subscriptions: { 'a\0b': config, [room.roomId]: config } },
      {
        extensions: {
          account_data: { enabled: true, lists: ['a\0b'], rooms: ['a\0b'] },
          to_device: { enabled: null },
        },
      },
    ]
    for (const body of good) {
      const { status } = await ask(alice, body)
      expect([JSON.stringify(body).slice(0, 60), status]).toEqual([
        JSON.stringify(body).slice(0, 60),
        200,
      ])
    }
  })
})
