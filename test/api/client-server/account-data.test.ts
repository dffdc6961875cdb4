import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const bob = await home.person('bob')
const roomId = '!room:here.example'

const globalPath = ({ userId }: Person, type: string) =>
  `/user/${encodeURIComponent(userId)}/account_data/${encodeURIComponent(type)}`
const roomPath = ({ userId }: Person, room: string, type: string) =>
  `/user/${encodeURIComponent(userId)}/rooms/${encodeURIComponent(room)}/account_data/${type}`

describe('account data', () => {
  test('is kept as it came, globally and by room, and apart', async () => {
    const content = { list: [1, { deep: null }], text: 'ü' }
    const global = globalPath(alice, 'm.direct')
    const inRoom = roomPath(alice, roomId, 'm.direct')
    expect(await alice.client.put(global, content)).toMatchObject({ status: 200, body: {} })
    expect((await alice.client.put(inRoom, { room: true })).status).toBe(200)
    expect((await alice.client.get(global)).body).toEqual(content)
    expect((await alice.client.get(inRoom)).body).toEqual({ room: true })
    await alice.client.put(global, {})
    expect((await alice.client.get(global)).body).toEqual({})
    const [row] = await db.pool<{ content: string }[]>`
      select content from account_data where user_id = ${alice.userId} and room_id = ${roomId}`
    expect(row!.content).toBe('{"room":true}')
  })

  test('reaches the sync of its user, and only of its user', async () => {
    const before = await home.story.sync(alice.userId)
    const others = await home.story.sync(bob.userId)
    await alice.client.put(globalPath(alice, 'org.example.new'), { n: 1 })
    const after = await home.story.sync(alice.userId, { since: before.next_batch })
    expect(after.account_data?.events).toEqual([{ type: 'org.example.new', content: { n: 1 } }])
    const same = await home.story.sync(bob.userId, { since: others.next_batch })
    expect(same.account_data).toBeUndefined()
  })

  test('wakes a sync that waits', async () => {
    const before = await home.story.sync(alice.userId)
    const waiting = home.story.sync(alice.userId, { since: before.next_batch, timeoutMs: 30_000 })
    await alice.client.put(globalPath(alice, 'org.example.wake'), { n: 2 })
    expect((await waiting).account_data?.events).toEqual([
      { type: 'org.example.wake', content: { n: 2 } },
    ])
  })

  test('of somebody else is theirs', async () => {
    const path = globalPath(alice, 'm.direct')
    for (const answer of [await bob.client.get(path), await bob.client.put(path, {})])
      expect([answer.status, answer.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    expect((await home.client.get(path)).status).toBe(401)
  })

  test('that is not there is not found', async () => {
    for (const path of [globalPath(alice, 'x.y'), roomPath(alice, roomId, 'x.y')])
      expect((await alice.client.get(path)).body.errcode).toBe('M_NOT_FOUND')
  })

  test('that other calls write cannot be set', async () => {
    for (const type of ['m.fully_read', 'm.push_rules']) {
      const { status, body } = await alice.client.put(globalPath(alice, type), {})
      expect([status, body.errcode]).toEqual([405, 'M_BAD_JSON'])
    }
  })

  test('is an object of a type, in a room', async () => {
    const odd = [
      await alice.client.put(globalPath(alice, 'a.b'), []),
      await alice.client.ask('PUT', globalPath(alice, 'a.b'), { text: 'nonsense' }),
      await alice.client.put(roomPath(alice, 'no room', 'a.b'), {}),
      await alice.client.put(globalPath(alice, 'x'.repeat(256)), {}),
      await alice.client.put(globalPath(alice, 'a\0b'), {}),
    ]
    expect(odd.map(({ status, body }) => [status, body.errcode])).toEqual([
      [400, 'M_BAD_JSON'],
      [400, 'M_NOT_JSON'],
      [400, 'M_INVALID_PARAM'],
      [400, 'M_INVALID_PARAM'],
      [400, 'M_INVALID_PARAM'],
    ])
  })
})
