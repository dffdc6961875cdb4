import { beforeAll, describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const bob = await home.person('bob')

const listed = async (roomId: string) =>
  (await home.client.get(`/directory/list/room/${encodeURIComponent(roomId)}`)).body.visibility
const publish = (who: Person, roomId: string, body: object = {}) =>
  who.client.put(`/directory/list/room/${encodeURIComponent(roomId)}`, body)

describe('publishing a room', () => {
  test('is for who may set its main alias', async () => {
    const room = await home.story.room(alice.userId)
    await room.member(bob.userId, 'join')
    expect(await listed(room.roomId)).toBe('private')
    expect(await publish(bob, room.roomId)).toMatchObject({
      status: 403,
      body: { errcode: 'M_FORBIDDEN' },
    })
    expect(await publish(alice, room.roomId)).toMatchObject({ status: 200, body: {} })
    expect(await listed(room.roomId)).toBe('public')
    expect((await publish(alice, room.roomId, { visibility: 'private' })).status).toBe(200)
    expect(await listed(room.roomId)).toBe('private')
  })

  test('is for an administrator too, and not for who left', async () => {
    const room = await home.story.room(alice.userId)
    const root = await home.person('root', { admin: true })
    expect((await publish(root, room.roomId, { visibility: 'public' })).status).toBe(200)
    await room.member(bob.userId, 'join')
    await room.state(alice.userId, 'm.room.power_levels', '', {
      users: { [alice.userId]: 100, [bob.userId]: 100 },
    })
    await room.member(bob.userId, 'leave')
    expect((await publish(bob, room.roomId, { visibility: 'private' })).status).toBe(403)
  })

  test('needs a room that is known, and a visibility that there is', async () => {
    const { status, body } = await publish(alice, '!nowhere:here.example')
    expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND'])
    const unknown = await home.client.get('/directory/list/room/!nowhere:here.example')
    expect([unknown.status, unknown.body.errcode]).toEqual([404, 'M_NOT_FOUND'])
    const room = await home.story.room(alice.userId)
    const odd = await publish(alice, room.roomId, { visibility: 'hidden' })
    expect([odd.status, odd.body.errcode]).toEqual([400, 'M_BAD_JSON'])
  })
})

describe('listing public rooms', () => {
  let ids: string[]
  beforeAll(async () => {
    ids = []
    for (const name of ['Cheese', 'Bread', 'Wine']) {
      const room = await home.story.room(alice.userId)
      await room.state(alice.userId, 'm.room.name', '', { name })
      await publish(alice, room.roomId)
      ids.push(room.roomId)
    }
  })

  test('needs no login, and goes by pages', async () => {
    const first = await home.client.get('/publicRooms?limit=2')
    expect(first.status).toBe(200)
    expect(first.body.chunk).toHaveLength(2)
    const next = encodeURIComponent(first.body.next_batch)
    const second = await home.client.get(`/publicRooms?limit=2&since=${next}`)
    const all = [...first.body.chunk, ...second.body.chunk]
    expect(all.map((room) => room.room_id)).toEqual(expect.arrayContaining(ids))
  })

  test('searches for who is logged in', async () => {
    const body = { filter: { generic_search_term: 'BREAD' }, limit: 10 }
    expect((await home.client.post('/publicRooms', body)).body.errcode).toBe('M_MISSING_TOKEN')
    const { body: found } = await alice.client.post('/publicRooms', body)
    expect(found.chunk).toEqual([expect.objectContaining({ room_id: ids[1], name: 'Bread' })])
    const spaces = await alice.client.post('/publicRooms', { filter: { room_types: ['m.space'] } })
    expect(spaces.body.chunk).toEqual([])
  })

  test('knows no rooms of third-party networks', async () => {
    const { body } = await alice.client.post('/publicRooms', { third_party_instance_id: 'irc' })
    expect(body.chunk).toEqual([])
  })

  test('refuses what it does not understand', async () => {
    for (const query of ['limit=x', 'limit=-1', 'since=nonsense', 'server=%2F'])
      expect((await home.client.get(`/publicRooms?${query}`)).body.errcode).toBe('M_INVALID_PARAM')
    const { body } = await alice.client.post('/publicRooms', { filter: 'all' })
    expect(body.errcode).toBe('M_BAD_JSON')
  })

  test('asks another server for its rooms, and shows those that are whole', async () => {
    const room = { room_id: '!r:far.example', num_joined_members: 3 }
    const whole = { ...room, world_readable: true, guest_can_join: false, name: 'Far' }
    home.federation.answer = () => ({
      status: 200,
      body: JSON.stringify({ chunk: [whole, room], next_batch: 'n', total_room_count_estimate: 9 }),
    })
    const { body } = await home.client.get('/publicRooms?server=far.example&limit=5&since=s')
    expect(body).toEqual({ chunk: [whole], next_batch: 'n', total_room_count_estimate: 9 })
    expect(home.federation.requests.at(-1)).toMatchObject({
      destination: 'far.example',
      method: 'GET',
      uri: '/_matrix/federation/v1/publicRooms?limit=5&since=s',
    })
    await alice.client.post('/publicRooms?server=far.example', {
      filter: { generic_search_term: 'x' },
    })
    expect(home.federation.requests.at(-1)).toMatchObject({
      method: 'POST',
      body: JSON.stringify({ filter: { generic_search_term: 'x' } }),
    })
  })

  test('says which server failed', async () => {
    home.federation.answer = ({ destination }) => {
      throw new RemoteError(destination, 0, '', 'timed out')
    }
    const { status, body } = await home.client.get('/publicRooms?server=far.example')
    expect(status).toBe(504)
    expect(body.error).toContain('far.example')
  })

  test('takes its own name for itself', async () => {
    const { body } = await home.client.get('/publicRooms?server=here.example')
    expect(body.chunk.length).toBeGreaterThan(2)
  })
})
