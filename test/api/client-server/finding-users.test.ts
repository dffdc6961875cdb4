import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const bob = await home.person('bob')
const enc = encodeURIComponent

describe('searching for users', () => {
  const search = async (who: Person, term: string, limit?: number) => {
    const wish = { search_term: term, ...(limit !== undefined && { limit }) }
    const { status, body } = await who.client.post('/user_directory/search', wish)
    return status === 200
      ? { ids: (body.results as any[]).map((each) => each.user_id as string), ...body }
      : { ids: [], status, ...body }
  }

  test('finds accounts of this server by ID and by name, in any case, and not oneself', async () => {
    const zoe = await home.person('zoe')
    expect((await search(alice, 'zoe')).ids).toEqual([])
    const room = await home.story.room(alice.userId)
    await room.member(zoe.userId, 'join', { content: { displayname: 'Secret' } })
    const name = { displayname: 'Zoë de Groot' }
    await zoe.client.put(`/profile/${enc(zoe.userId)}/displayname`, name)
    expect((await search(alice, 'ZOE')).ids).toEqual([zoe.userId])
    expect((await search(alice, 'groot zoë')).results).toEqual([
      { user_id: zoe.userId, display_name: 'Zoë de Groot' },
    ])
    expect((await search(alice, zoe.userId)).ids).toEqual([zoe.userId])
    expect((await search(zoe, 'groot')).ids).toEqual([])
    expect((await search(alice, 'secret')).ids).toEqual([])
    expect((await search(bob, 'zoe')).ids).toEqual([])
    await room.member(zoe.userId, 'leave')
    expect((await search(alice, 'zoe')).ids).toEqual([])
  })

  test('finds every account of this server where the operator says so', async () => {
    const open = await Home.open(await testDatabase(), {
      config: { user_directory: { all_accounts: true } },
    })
    const [asker, other] = [await open.person('asker'), await open.person('other')]
    const { body } = await asker.client.post('/user_directory/search', { search_term: 'other' })
    expect(body).toEqual({ results: [{ user_id: other.userId }], limited: false })
  })

  test('passes over names that no text of the database can be', async () => {
    const room = await home.story.room(alice.userId)
    for (const [index, displayname] of ['Vic\0tor', 'Vic\ud800tor', 'Victor'].entries())
      await room.member(`@vic${index}:far.example`, 'join', { content: { displayname } })
    const own = await home.person('victoria')
    await own.client.put(`/profile/${enc(own.userId)}/displayname`, { displayname: 'Vic\0tor' })
    await room.member(own.userId, 'join')
    expect((await search(alice, 'victor')).ids).toEqual(['@vic2:far.example', own.userId])
    expect((await search(alice, 'vic')).ids.toSorted()).toEqual(
      [0, 1, 2].map((index) => `@vic${index}:far.example`).concat(own.userId),
    )
  })

  test('finds others only where they share a room, or are in a published one', async () => {
    const room = await home.story.room(alice.userId)
    await room.member('@quentin:far.example', 'join', { content: { displayname: 'Quentin' } })
    expect((await search(alice, 'quentin')).results).toEqual([
      { user_id: '@quentin:far.example', display_name: 'Quentin' },
    ])
    expect((await search(bob, 'quentin')).ids).toEqual([])
    const admin = await home.person('root', { admin: true })
    const path = `/directory/list/room/${enc(room.roomId)}`
    await admin.client.put(path, { visibility: 'public' })
    expect((await search(bob, 'quentin')).ids).toEqual(['@quentin:far.example'])
  })

  test('says when there are more, and finds nothing for no words', async () => {
    const room = await home.story.room(alice.userId)
    for (let each = 0; each < 3; each++)
      await room.member((await home.person('many')).userId, 'join')
    const answer = await search(alice, 'many', 2)
    expect([answer.ids.length, answer.limited]).toEqual([2, true])
    expect((await search(alice, 'many', 3)).limited).toBe(false)
    expect((await search(alice, '  ')).ids).toEqual([])
    expect((await search(alice, '%')).ids).toEqual([])
    expect((await search(alice, 'a\0b')).errcode).toBe('M_INVALID_PARAM')
  })
})

describe('mutual rooms', () => {
  test('are those in which both are', async () => {
    const both = await home.story.room(alice.userId)
    await both.member(bob.userId, 'join')
    const left = await home.story.room(alice.userId)
    await left.member(bob.userId, 'join')
    await left.member(bob.userId, 'leave')
    const path = '/_matrix/client/v1/mutual_rooms'
    const { body } = await alice.client.get(`${path}?user_id=${enc(bob.userId)}`)
    expect(body).toEqual({ joined: [both.roomId], count: 1 })
    const nobody = await alice.client.get(`${path}?user_id=${enc('@nobody:far.example')}`)
    expect(nobody.body).toEqual({ joined: [], count: 0 })
    const self = await alice.client.get(`${path}?user_id=${enc(alice.userId)}`)
    expect([self.status, self.body.errcode]).toEqual([400, 'M_INVALID_PARAM'])
    const bad = await alice.client.get(`${path}?user_id=${enc(bob.userId)}&from=x`)
    expect(bad.status).toBe(400)
  })
})

describe('reports', () => {
  test('are kept, of rooms, of events to who is in the room, and of users', async () => {
    const room = await home.story.room(alice.userId)
    const { eventId } = await room.send(alice.userId, 'spam')
    const report = (who: Person, path: string, body: object = { reason: 'spam' }) =>
      who.client.post(path, body)
    const event = `/rooms/${enc(room.roomId)}/report/${enc(eventId)}`
    expect((await report(bob, event)).status).toBe(404)
    await room.member(bob.userId, 'join')
    expect((await report(bob, event, { score: -100 })).status).toBe(200)
    expect((await report(bob, `/rooms/${enc(room.roomId)}/report/$none`)).status).toBe(404)
    expect((await report(bob, `/rooms/${enc(room.roomId)}/report`)).status).toBe(200)
    expect((await report(bob, `/rooms/${enc('!none:here.example')}/report`)).status).toBe(404)
    expect((await report(bob, `/users/${enc(alice.userId)}/report`)).status).toBe(200)
    expect((await report(bob, `/users/${enc('@none:here.example')}/report`)).status).toBe(404)
    expect((await report(bob, `/users/${enc(alice.userId)}/report`, {})).status).toBe(400)
    const rows = await db.pool`
      select reporter, room_id, event_id, user_id, reason from reports order by report_id`
    expect([...rows] as unknown[]).toEqual([
      { reporter: bob.userId, room_id: room.roomId, event_id: eventId, user_id: null, reason: '' },
      { reporter: bob.userId, room_id: room.roomId, event_id: null, user_id: null, reason: 'spam' },
      {
        reporter: bob.userId,
        room_id: null,
        event_id: null,
        user_id: alice.userId,
        reason: 'spam',
      },
    ])
  })
})
