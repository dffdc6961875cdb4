import { beforeEach, describe, expect, test } from 'bun:test'
import type { Answer } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from '#test/api/client-server/home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const root = await home.person('root', { admin: true })
const admin = root.client
const outcome = ({ status, body }: Answer) => [status, body?.errcode]
const v1 = '/_synapse/admin/v1'
const enc = encodeURIComponent
const of = (room: { roomId: string }, rest = '') => `${v1}/rooms/${enc(room.roomId)}${rest}`
const landed = () => ({ eventId: '$x', shard: 0, position: 0 })
beforeEach(() => {
  home.roomAnswers = {}
  home.roomCalls.length = 0
})

describe('rooms', () => {
  test('are listed in an order, found by name, and in pages', async () => {
    const people = [await home.person('ann'), await home.person('bob')]
    const [ann, bob] = people.map((person) => person.userId) as [string, string]
    const small = await home.story.room(ann)
    await small.state(ann, 'm.room.name', '', { name: 'Zebra "quoted" 100%' })
    const large = await home.story.room(ann)
    await large.state(ann, 'm.room.name', '', { name: 'Ape' })
    await large.member(bob, 'join')
    await large.member('@far:there.example', 'join')
    const nameless = await home.story.room(ann)
    const list = async (query: string) => (await admin.get(`${v1}/rooms?${query}`)).body
    const ids = async (query: string) =>
      (await list(query)).rooms.map((room: { room_id: string }) => room.room_id)
    const own = [large, small, nameless].map(({ roomId }) => roomId)
    expect(await ids('')).toEqual(own)
    expect((await ids('order_by=name&dir=b'))[0]).toBe(small.roomId)
    expect((await ids('order_by=joined_members'))[0]).toBe(large.roomId)
    expect((await ids('order_by=joined_members&dir=b')).at(-1)).toBe(large.roomId)
    expect(await ids('search_term=zeb')).toEqual([small.roomId])
    expect(await ids(`search_term=${enc('100%')}`)).toEqual([small.roomId])
    expect(await ids(`search_term=${enc('1%0')}`)).toEqual([])
    expect(await ids(`search_term=${enc(nameless.roomId)}`)).toEqual([nameless.roomId])
    expect(await ids('public_rooms=true')).toEqual([])
    expect(await ids('empty_rooms=true')).toEqual([])
    const page = await list('limit=1&from=1')
    expect(page).toMatchObject({ offset: 1, total_rooms: 3, next_batch: 2, prev_batch: 0 })
    expect(page.rooms).toHaveLength(1)
    const [first] = (await list('')).rooms
    expect(first).toMatchObject({
      room_id: large.roomId,
      name: 'Ape',
      canonical_alias: null,
      joined_members: 3,
      joined_local_members: 2,
      version: '11',
      creator: ann,
      encryption: null,
      federatable: true,
      public: false,
      state_events: 6,
      room_type: null,
    })
  })

  test('are sorted by all that tools sort them by, and by nothing else', async () => {
    const orders = [
      'alphabetical size name canonical_alias joined_members joined_local_members version creator',
      'encryption federatable public join_rules guest_access history_visibility state_events',
    ].flatMap((line) => line.split(' '))
    for (const order of orders)
      for (const dir of ['f', 'b'])
        expect((await admin.get(`${v1}/rooms?order_by=${order}&dir=${dir}`)).status).toBe(200)
    const bad = ['order_by=room_nid', 'dir=x', 'limit=0', 'from=-1', 'search_term=%00']
    for (const query of bad) expect((await admin.get(`${v1}/rooms?${query}`)).status).toBe(400)
  })

  test('are shown to an administrator who is not in them', async () => {
    const ann = await home.person('ann')
    const room = await home.story.room(ann.userId, { visibility: 'joined' })
    await room.state(ann.userId, 'm.room.topic', '', { topic: 'secret' })
    const said = await room.send(ann.userId, 'for us alone')
    expect((await admin.get(of(room))).body).toMatchObject({
      topic: 'secret',
      history_visibility: 'joined',
      joined_local_devices: 1,
      forgotten: false,
    })
    expect((await admin.get(of(room, '/members'))).body).toEqual({
      members: [ann.userId],
      total: 1,
    })
    const { state } = (await admin.get(of(room, '/state'))).body
    expect(state).toHaveLength(5)
    const newest = await admin.get(of(room, '/messages?dir=b&limit=1'))
    expect(newest.body.chunk).toMatchObject([{ event_id: said.eventId, room_id: room.roomId }])
    const older = await admin.get(of(room, `/messages?dir=b&from=${newest.body.end}`))
    expect(older.body.chunk).toHaveLength(5)
    const oldest = await admin.get(of(room, '/messages?limit=1'))
    expect(oldest.body.chunk).toMatchObject([{ type: 'm.room.create' }])
    const event = await admin.get(`${v1}/fetch_event/${enc(said.eventId)}`)
    expect(event.body.event).toMatchObject({ content: { body: 'for us alone' } })
    expect((await admin.get(of(room, '/forward_extremities'))).status).toBe(200)
    const context = await admin.get(of(room, `/context/${enc(said.eventId)}?limit=4`))
    expect(context.body).toMatchObject({ event: { event_id: said.eventId }, events_after: [] })
    expect(context.body.events_before).toHaveLength(2)
    expect(context.body.state).toHaveLength(5)
    const at = await admin.get(of(room, '/timestamp_to_event?ts=0'))
    expect(at.body.event_id).toBe(oldest.body.chunk[0].event_id)
    expect((await admin.get(of(room, '/timestamp_to_event?ts=0&dir=b'))).status).toBe(404)
    // What administrators see here, they do not see as users.
    const path = `/rooms/${enc(room.roomId)}/messages?dir=b`
    expect(outcome(await admin.get(path))).toEqual([403, 'M_FORBIDDEN'])
  })

  test('that are not there are not found', async () => {
    const none = { roomId: '!none:here.example' }
    const rests = ['/context/$none', '/timestamp_to_event?ts=1', '/forward_extremities']
    for (const rest of ['', '/members', '/state', '/messages', ...rests])
      expect(outcome(await admin.get(of(none, rest)))).toEqual([404, 'M_NOT_FOUND'])
    const event = await admin.get(`${v1}/fetch_event/${enc('$none')}`)
    expect(outcome(event)).toEqual([404, 'M_NOT_FOUND'])
  })
})

describe('a blocked room', () => {
  test('is known as such, before anybody has heard of it too', async () => {
    const room = { roomId: '!unknown:there.example' }
    expect((await admin.get(of(room, '/block'))).body).toEqual({ block: false })
    expect((await admin.put(of(room, '/block'), { block: true })).body).toEqual({ block: true })
    expect((await admin.get(of(room, '/block'))).body).toEqual({
      block: true,
      user_id: root.userId,
    })
    await admin.put(of(room, '/block'), { block: true })
    expect((await admin.put(of(room, '/block'), { block: false })).body).toEqual({ block: false })
    expect((await admin.get(of(room, '/block'))).body).toEqual({ block: false })
    expect((await admin.put(of(room, '/block'), {})).status).toBe(400)
  })

  test('is joined, knocked at and invited to by nobody', async () => {
    const ann = await home.person('ann')
    const room = await home.story.room(ann.userId)
    const id = enc(room.roomId)
    const asks = () => [
      ann.client.post(`/join/${id}`, { reason: 'again' }),
      ann.client.post(`/rooms/${id}/join`, { reason: 'again' }),
      ann.client.post(`/knock/${id}`),
      ann.client.post(`/rooms/${id}/invite`, { user_id: root.userId }),
      ann.client.put(`/rooms/${id}/state/m.room.member/${root.userId}`, { membership: 'invite' }),
      admin.put(`/rooms/${id}/state/m.room.member/${root.userId}`, { membership: 'join' }),
      admin.post(`${v1}/join/${id}`, { user_id: ann.userId }),
    ]
    await admin.put(of(room, '/block'), { block: true })
    for (const answer of await Promise.all(asks()))
      expect(outcome(answer)).toEqual([403, 'M_FORBIDDEN'])
    expect(home.roomCalls).toEqual([])
    // Who is in it may leave.
    home.roomAnswers = { changeMembership: landed, join: landed, knock: landed }
    expect((await ann.client.post(`/rooms/${id}/leave`)).status).toBe(200)
    await admin.put(of(room, '/block'), { block: false })
    for (const answer of await Promise.all(asks())) expect(answer.status).toBe(200)
  })
})

describe('an administrator', () => {
  const calls = () => home.roomCalls.map(({ method, args }) => [method, ...args])

  test('joins a user to a room, by an invite of their own where not everybody may', async () => {
    const ann = await home.person('ann')
    home.roomAnswers = { join: landed, changeMembership: landed }
    const open = await home.story.room(root.userId)
    await open.state(root.userId, 'm.room.join_rules', '', { join_rule: 'public' })
    const join = (room: { roomId: string }, user_id: string) =>
      admin.post(`${v1}/join/${enc(room.roomId)}`, { user_id })
    expect((await join(open, ann.userId)).body).toEqual({ room_id: open.roomId })
    expect(calls()).toMatchObject([['join', open.roomId, { userId: ann.userId }]])
    home.roomCalls.length = 0
    const closed = await home.story.room(root.userId)
    expect((await join(closed, ann.userId)).status).toBe(200)
    expect(calls()).toMatchObject([
      [
        'changeMembership',
        closed.roomId,
        { sender: root.userId, target: ann.userId, membership: 'invite' },
      ],
      ['join', closed.roomId, { userId: ann.userId }],
    ])
    expect(outcome(await join(open, '@far:there.example'))).toEqual([400, 'M_INVALID_PARAM'])
    expect(outcome(await join(open, '@none:here.example'))).toEqual([404, 'M_NOT_FOUND'])
    expect((await admin.post(`${v1}/join/nonsense`, { user_id: ann.userId })).status).toBe(400)
  })

  test('gets power by a user of this server who has it, and an invite', async () => {
    const ann = await home.person('ann')
    home.roomAnswers = { send: landed, changeMembership: landed }
    const room = await home.story.room(ann.userId)
    expect((await admin.post(of(room, '/make_room_admin'))).body).toEqual({})
    const [send, invite] = calls() as [string, string, Record<string, string>][]
    expect(send).toMatchObject(['send', room.roomId, { sender: ann.userId, stateKey: '' }])
    expect(JSON.parse(send![2]['content']!)).toEqual({
      users: { [ann.userId]: 100, [root.userId]: 100 },
    })
    expect(invite).toMatchObject([
      'changeMembership',
      room.roomId,
      { sender: ann.userId, target: root.userId, membership: 'invite' },
    ])
    home.roomCalls.length = 0
    await admin.post(of(room, '/make_room_admin'), { user_id: ann.userId })
    expect(calls()).toEqual([])
  })

  test('gets none where no user of this server has it', async () => {
    const ann = await home.person('ann')
    const room = await home.story.room('@far:there.example')
    await room.member(ann.userId, 'join')
    const answer = await admin.post(of(room, '/make_room_admin'))
    expect(outcome(answer)).toEqual([400, 'M_UNKNOWN'])
    expect(calls()).toEqual([])
    expect(outcome(await admin.post(of(room, '/make_room_admin'), { user_id: 'x' }))).toEqual([
      400,
      'M_INVALID_PARAM',
    ])
  })
})
