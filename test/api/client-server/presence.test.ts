import { describe, expect, test } from 'bun:test'
import { maxStatus } from '#engine/live/presence.ts'
import { Client } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const { story, ctx } = home
const presence = ctx.presence!

const path = (userId: string) => `/presence/${encodeURIComponent(userId)}/status`
const put = (who: Person, body: unknown, userId = who.userId) => who.client.put(path(userId), body)
const get = (who: Person, userId = who.userId) => who.client.get(path(userId))

const sync = async (who: Person, query = '') => {
  const { body } = await who.client.get(`/sync?timeout=0&${query}`)
  await presence.settled()
  const events = (body.presence?.events ?? []) as { sender: string; content: object }[]
  return { events, next: body.next_batch as string }
}

async function pair() {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const room = await story.room(alice.userId)
  await room.member(bob.userId, 'join')
  return { alice, bob, room }
}

describe('presence', () => {
  test('is set and read by the user', async () => {
    const alice = await home.person('alice')
    expect(await get(alice)).toMatchObject({ status: 200, body: { presence: 'offline' } })
    expect(await put(alice, { presence: 'online', status_msg: 'Testing' })).toMatchObject({
      status: 200,
      body: {},
    })
    expect((await get(alice)).body).toEqual({
      presence: 'online',
      last_active_ago: 0,
      status_msg: 'Testing',
      currently_active: true,
    })
    await put(alice, { presence: 'unavailable' })
    expect((await get(alice)).body).toEqual({ presence: 'unavailable', last_active_ago: 0 })
  })

  test('is not set for others, nor to what there is not', async () => {
    const { alice, bob } = await pair()
    const fault = async (body: unknown, userId?: string) => {
      const answer = await put(alice, body, userId)
      return [answer.status, answer.body.errcode]
    }
    expect(await fault({ presence: 'online' }, bob.userId)).toEqual([403, 'M_FORBIDDEN'])
    expect(await fault({ presence: 'online' }, '@nobody:here.example')).toEqual([
      403,
      'M_FORBIDDEN',
    ])
    expect(await fault({ presence: 'dancing' })).toEqual([400, 'M_BAD_JSON'])
    expect(await fault({})).toEqual([400, 'M_BAD_JSON'])
    expect(await fault({ presence: 'online', status_msg: 7 })).toEqual([400, 'M_BAD_JSON'])
    const long = 'x'.repeat(maxStatus + 1)
    expect(await fault({ presence: 'online', status_msg: long })).toEqual([413, 'M_TOO_LARGE'])
    expect((await get(alice)).body).toEqual({ presence: 'offline' })
    expect((await home.client.get(path(alice.userId))).status).toBe(401)
  })

  test('is seen by who shares a room, and by nobody else, whether there is such a user or not', async () => {
    const { alice, bob, room } = await pair()
    const stranger = await home.person('stranger')
    await put(alice, { presence: 'online' })
    expect((await get(bob, alice.userId)).body.presence).toBe('online')
    const refused = await get(stranger, alice.userId)
    expect([refused.status, refused.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    expect((await get(stranger, '@nobody:here.example')).body).toEqual(refused.body)
    expect((await get(stranger, '@nobody:there.example')).body).toEqual(refused.body)
    expect((await get(alice, 'nobody')).body.errcode).toBe('M_INVALID_PARAM')
    await room.member(bob.userId, 'leave')
    expect((await get(bob, alice.userId)).status).toBe(403)
    const afar = '@afar:there.example'
    await room.member(afar, 'join')
    const unheard = await get(alice, afar)
    expect([unheard.status, unheard.body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  })

  test('is told to who waits in the room, once, with the message', async () => {
    const { alice, bob } = await pair()
    await sync(bob)
    const { next } = await sync(bob)
    const waiting = bob.client.get(`/sync?timeout=60000&since=${next}`)
    await put(alice, { presence: 'online', status_msg: 'hello' })
    const { body } = await waiting
    expect(body.rooms).toBeUndefined()
    expect(body.presence).toEqual({
      events: [
        {
          type: 'm.presence',
          sender: alice.userId,
          content: {
            presence: 'online',
            last_active_ago: 0,
            status_msg: 'hello',
            currently_active: true,
          },
        },
      ],
    })
    expect((await sync(bob, `since=${body.next_batch}`)).events).toEqual([])
    await put(alice, { presence: 'unavailable' })
    await presence.settled()
    expect((await sync(bob, `since=${body.next_batch}`)).events).toMatchObject([
      { sender: alice.userId, content: { presence: 'unavailable' } },
    ])
  })

  test('follows /sync and what the user does there', async () => {
    const { alice, bob, room } = await pair()
    const { next } = await sync(bob, 'set_presence=offline')
    expect((await get(bob)).body.presence).toBe('offline')
    await sync(alice, 'set_presence=unavailable')
    const second = await sync(bob, `set_presence=offline&since=${next}`)
    expect(second.events).toMatchObject([
      { sender: alice.userId, content: { presence: 'unavailable' } },
    ])
    const typing = `/rooms/${encodeURIComponent(room.roomId)}/typing/${encodeURIComponent(alice.userId)}`
    await alice.client.put(typing, { typing: true })
    await presence.settled()
    const third = await sync(bob, `set_presence=offline&since=${second.next}`)
    expect(third.events).toMatchObject([{ sender: alice.userId, content: { presence: 'online' } }])
    const { status, body } = await alice.client.get('/sync?set_presence=dancing')
    expect([status, body.errcode]).toEqual([400, 'M_INVALID_PARAM'])
    home.now += 60_000
    presence.sweep()
    await presence.settled()
    expect((await sync(bob, `set_presence=offline&since=${third.next}`)).events).toMatchObject([
      { sender: alice.userId, content: { presence: 'offline', last_active_ago: 60_000 } },
    ])
  })

  test('follows sliding sync', async () => {
    const { alice, bob } = await pair()
    const where = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync?timeout=0'
    const ask = (query: string) => alice.client.post(`${where}${query}`, {})
    expect((await ask('&set_presence=unavailable')).status).toBe(200)
    expect((await get(bob, alice.userId)).body.presence).toBe('unavailable')
    await ask('&set_presence=online')
    expect((await get(bob, alice.userId)).body.presence).toBe('online')
    await ask('&set_presence=offline')
    expect((await get(bob, alice.userId)).body.presence).toBe('offline')
    expect((await ask('&set_presence=dancing')).status).toBe(400)
  })

  test('of who is in a room that is new to the client comes with the room', async () => {
    const alice = await home.person('alice')
    const bob = await home.person('bob')
    const room = await story.room(alice.userId)
    await put(alice, { presence: 'online' })
    await put(bob, { presence: 'online' })
    await sync(alice)
    const [mine, hers] = [await sync(bob), await sync(alice)]
    await room.member(bob.userId, 'join')
    const told = await sync(bob, `since=${mine.next}`)
    expect(told.events.map(({ sender }) => sender)).toContain(alice.userId)
    expect((await sync(bob, `since=${told.next}`)).events).toEqual([])
    const other = await sync(alice, `since=${hers.next}`)
    expect(other.events.map(({ sender }) => sender)).toContain(bob.userId)
  })

  test('of who is ignored, or filtered out, is not told', async () => {
    const { alice, bob } = await pair()
    await put(alice, { presence: 'online' })
    await presence.settled()
    const filter = encodeURIComponent(JSON.stringify({ presence: { not_types: ['*'] } }))
    expect((await sync(bob, `filter=${filter}`)).events).toEqual([])
    const senders = async () => (await sync(bob)).events.map(({ sender }) => sender)
    expect(await senders()).toContain(alice.userId)
    await story.accountData(bob.userId, '', 'm.ignored_user_list', {
      ignored_users: { [alice.userId]: {} },
    })
    expect(await senders()).not.toContain(alice.userId)
  })

  test('of a deactivated user is gone with the message', async () => {
    const { alice, bob } = await pair()
    await put(alice, { presence: 'online', status_msg: 'here' })
    presence.forget(alice.userId)
    expect((await get(bob, alice.userId)).body).toEqual({ presence: 'offline' })
  })

  test('is nothing where the operator does not want it', async () => {
    const { alice, bob } = await pair()
    await put(alice, { presence: 'online' })
    const quiet = Client.of({ ...ctx, presence: undefined })
    const [mute, deaf] = [quiet.as(alice.token), quiet.as(bob.token)]
    expect((await mute.put(path(alice.userId), { presence: 'online' })).status).toBe(200)
    for (const client of [mute, deaf]) {
      const { status, body } = await client.get(path(alice.userId))
      expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND'])
    }
    const { body } = await deaf.get('/sync?set_presence=online&timeout=0')
    expect(body.presence).toBeUndefined()
    expect((await deaf.get(`/sync?timeout=0&since=${body.next_batch}`)).status).toBe(200)
  })
})

describe('the policy server', () => {
  const where = '/.well-known/matrix/policy_server'

  test('is not there unless the operator says so', async () => {
    const { status, body } = await home.client.get(where)
    expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  })

  test('is told of with its key', async () => {
    const key = '6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS/s'
    const { status, body } = await home
      .under({ policy_server: { ed25519_public_key: key } })
      .get(where)
    expect([status, body]).toEqual([200, { public_keys: { ed25519: key } }])
  })
})
