import { describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { LocalEvent } from '#engine/worker/protocol.ts'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

const fieldPath = (userId: string, name: string) =>
  `/profile/${encodeURIComponent(userId)}/${encodeURIComponent(name)}`
const put = ({ client, userId }: Person, name: string, value: unknown) =>
  client.put(fieldPath(userId, name), { [name]: value })
const profile = async ({ userId }: { userId: string }) =>
  (await home.client.get(`/profile/${userId}`)).body

describe('a profile', () => {
  test('is empty at first, and read by anybody', async () => {
    const alice = await home.person('alice')
    expect(await profile(alice)).toEqual({})
    const field = await home.client.get(fieldPath(alice.userId, 'displayname'))
    expect([field.status, field.body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  })

  test('takes name, picture, time zone and fields of any name in a namespace', async () => {
    const alice = await home.person('alice')
    const fields = {
      displayname: 'Alice ⚡',
      avatar_url: 'mxc://here.example/a',
      'm.tz': 'Europe/Berlin',
      'org.example.pets': { cats: 2, names: ['Tom', null], __proto__x: 1 },
    }
    for (const [name, value] of Object.entries(fields))
      expect(await put(alice, name, value)).toMatchObject({ status: 200, body: {} })
    expect(await profile(alice)).toEqual(fields)
    const one = await home.client.get(fieldPath(alice.userId, 'org.example.pets'))
    expect(one.body).toEqual({ 'org.example.pets': fields['org.example.pets'] })
  })

  test('loses a field that is deleted, or a name that is set to nothing', async () => {
    const alice = await home.person('alice')
    await put(alice, 'displayname', 'Alice')
    await put(alice, 'm.tz', 'UTC')
    await put(alice, 'displayname', '')
    expect((await alice.client.delete(fieldPath(alice.userId, 'm.tz'))).status).toBe(200)
    expect((await alice.client.delete(fieldPath(alice.userId, 'm.tz'))).status).toBe(200)
    expect(await profile(alice)).toEqual({})
  })

  test('is changed by its user alone', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const path = fieldPath(alice.userId, 'displayname')
    expect((await home.client.put(path, { displayname: 'x' })).status).toBe(401)
    for (const answer of [
      await bob.client.put(path, { displayname: 'x' }),
      await bob.client.delete(path),
    ])
      expect([answer.status, answer.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
  })

  test('refuses names and values that are none', async () => {
    const alice = await home.person('alice')
    const cases: [string, unknown, string][] = [
      ['displayname', 7, 'M_BAD_JSON'],
      ['displayname', 'x'.repeat(3000), 'M_BAD_JSON'],
      ['avatar_url', 'https://example.org/a', 'M_BAD_JSON'],
      ['m.tz', null, 'M_BAD_JSON'],
      ['nonamespace', 1, 'M_INVALID_PARAM'],
      ['.leading.dot', 1, 'M_INVALID_PARAM'],
      ['Upper.case', 1, 'M_INVALID_PARAM'],
      ['__proto__', 1, 'M_INVALID_PARAM'],
      [`a.${'x'.repeat(255)}`, 1, 'M_KEY_TOO_LARGE'],
    ]
    for (const [name, value, errcode] of cases) {
      const body = `{${JSON.stringify(name)}: ${JSON.stringify(value)}}`
      const { body: answer } = await alice.client.ask('PUT', fieldPath(alice.userId, name), {
        text: body,
      })
      expect([name, answer.errcode]).toEqual([name, errcode])
    }
    const missing = await alice.client.put(fieldPath(alice.userId, 'displayname'), {})
    expect(missing.body.errcode).toBe('M_MISSING_PARAM')
    expect(await profile(alice)).toEqual({})
  })

  test('has 64 KiB at most', async () => {
    const alice = await home.person('alice')
    expect((await put(alice, 'a.one', 'x'.repeat(40_000))).status).toBe(200)
    const { status, body } = await put(alice, 'a.two', 'x'.repeat(40_000))
    expect([status, body.errcode]).toEqual([400, 'M_PROFILE_TOO_LARGE'])
    expect((await put(alice, 'a.one', 'small')).status).toBe(200)
    expect((await put(alice, 'a.two', 'x'.repeat(40_000))).status).toBe(200)
  })

  test('of nobody is not found', async () => {
    for (const userId of ['@nobody:here.example', '@:here.example'])
      expect((await home.client.get(`/profile/${userId}`)).status).toBe(404)
    expect((await home.client.get('/profile/nobody')).body.errcode).toBe('M_INVALID_PARAM')
  })

  test('of a user of another server is asked of that server', async () => {
    home.federation.answer = () => ({ status: 200, body: '{"displayname":"Far","x":1}' })
    expect(await profile({ userId: '@f:far.example' })).toEqual({ displayname: 'Far', x: 1 })
    expect(home.federation.requests.at(-1)?.uri).toBe(
      '/_matrix/federation/v1/query/profile?user_id=%40f%3Afar.example',
    )
    const field = await home.client.get('/profile/@f:far.example/displayname')
    expect(field.body).toEqual({ displayname: 'Far' })
    for (const [status, answer] of [
      [404, 404],
      [403, 403],
      [500, 502],
    ] as const) {
      home.federation.answer = ({ destination }) => {
        throw new RemoteError(destination, status, 'M_X', 'no')
      }
      expect((await home.client.get('/profile/@f:far.example')).status).toBe(answer)
    }
  })
})

describe('a new name', () => {
  test('is told to the rooms of the user, once each, with what else the member event says', async () => {
    const [alice, bob] = [await home.person('alice'), await home.person('bob')]
    const rooms = [await home.story.room(alice.userId), await home.story.room(alice.userId)]
    const left = await home.story.room(bob.userId)
    await left.member(alice.userId, 'join')
    await left.member(alice.userId, 'leave')
    await rooms[1]!.member(alice.userId, 'join', {
      content: { reason: 'hello', own: 'kept', join_authorised_via_users_server: bob.userId },
    })
    const told: [string, LocalEvent][] = []
    home.roomAnswers.send = async (roomId, event) => {
      told.push([roomId, event])
      const room = rooms.find((each) => each.roomId === roomId)!
      const { position, eventId } = await room.member(alice.userId, 'join', {
        content: JSON.parse(event.content) as Record<string, string>,
      })
      return { eventId, shard: room.shard, position }
    }
    await put(alice, 'displayname', 'Alice')
    await home.ctx.profileNews.settled()
    expect(told.map(([roomId]) => roomId).sort()).toEqual(rooms.map((r) => r.roomId).sort())
    for (const [roomId, { sender, type, stateKey, content }] of told) {
      expect([sender, type, stateKey]).toEqual([alice.userId, 'm.room.member', alice.userId])
      expect(JSON.parse(content)).toEqual({
        membership: 'join',
        displayname: 'Alice',
        ...(roomId === rooms[1]!.roomId && { own: 'kept' }),
      })
    }
    told.length = 0
    await put(alice, 'displayname', 'Alice')
    await put(alice, 'm.tz', 'UTC')
    await home.ctx.profileNews.settled()
    expect(told).toEqual([])
  })

  test('is kept even if a room will not hear of it', async () => {
    const alice = await home.person('alice')
    await home.story.room(alice.userId)
    home.roomAnswers.send = () => {
      throw new Error('no')
    }
    expect((await put(alice, 'displayname', 'Alice')).status).toBe(200)
    await home.ctx.profileNews.settled()
    expect(await profile(alice)).toEqual({ displayname: 'Alice' })
  })
})
