import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const bob = await home.person('bob')
let rooms = 0

const path = ({ userId }: Person, roomId: string, tag?: string) => {
  const whole = `/user/${encodeURIComponent(userId)}/rooms/${encodeURIComponent(roomId)}/tags`
  return tag === undefined ? whole : `${whole}/${encodeURIComponent(tag)}`
}
const someRoom = () => `!room${++rooms}:here.example`
const tagsOf = async (who: Person, roomId: string) =>
  (await who.client.get(path(who, roomId))).body.tags

describe('tags', () => {
  test('are set, replaced and taken away, one by one', async () => {
    const roomId = someRoom()
    expect(await tagsOf(alice, roomId)).toEqual({})
    await alice.client.put(path(alice, roomId, 'm.favourite'), { order: 0.5 })
    await alice.client.put(path(alice, roomId, 'u.Work/ü'), { 'org.example.colour': 'red' })
    await alice.client.put(path(alice, roomId, 'm.favourite'), { order: 0.25 })
    expect(await tagsOf(alice, roomId)).toEqual({
      'm.favourite': { order: 0.25 },
      'u.Work/ü': { 'org.example.colour': 'red' },
    })
    expect((await alice.client.ask('DELETE', path(alice, roomId, 'm.favourite'))).status).toBe(200)
    await alice.client.ask('DELETE', path(alice, roomId, 'never.set'))
    expect(Object.keys(await tagsOf(alice, roomId))).toEqual(['u.Work/ü'])
  })

  test('that are set at the same time are all kept', async () => {
    const roomId = someRoom()
    const names = Array.from({ length: 20 }, (_, index) => `u.tag${index}`)
    await Promise.all(names.map((name) => alice.client.put(path(alice, roomId, name), {})))
    expect(Object.keys(await tagsOf(alice, roomId)).sort()).toEqual(names.sort())
  })

  test('come with the room in the next sync', async () => {
    const room = await home.story.room(alice.userId)
    const { next_batch: since } = await home.story.sync(alice.userId)
    await alice.client.put(path(alice, room.roomId, 'm.favourite'), {})
    const answer = await home.story.sync(alice.userId, { since })
    expect(answer.rooms?.join?.[room.roomId]?.account_data.events).toEqual([
      { type: 'm.tag', content: { tags: { 'm.favourite': {} } } },
    ])
  })

  test('survive account data of another shape', async () => {
    const roomId = someRoom()
    const place = path(alice, roomId).replace(/tags$/, 'account_data/m.tag')
    for (const odd of [{}, { tags: [] }, { tags: 'none' }]) {
      await alice.client.put(place, odd)
      expect(await tagsOf(alice, roomId)).toEqual({})
    }
    await alice.client.put(path(alice, roomId, 'u.a'), {})
    expect(await tagsOf(alice, roomId)).toEqual({ 'u.a': {} })
  })

  test('may have the name of something that every object has', async () => {
    const roomId = someRoom()
    await alice.client.put(path(alice, roomId, '__proto__'), { order: 1 })
    const { body } = await alice.client.get(path(alice, roomId))
    expect(JSON.stringify(body)).toBe('{"tags":{"__proto__":{"order":1}}}')
  })

  test('of others are theirs, and have a name and a number', async () => {
    const roomId = someRoom()
    const answers = [
      await bob.client.get(path(alice, roomId)),
      await bob.client.put(path(alice, roomId, 'u.a'), {}),
      await bob.client.ask('DELETE', path(alice, roomId, 'u.a')),
      await alice.client.put(path(alice, roomId, 'u.a'), { order: 'first' }),
      await alice.client.put(path(alice, roomId, 'x'.repeat(256)), {}),
      await alice.client.put(path(alice, 'nowhere', 'u.a'), {}),
    ]
    expect(answers.map(({ status, body }) => [status, body.errcode])).toEqual([
      [403, 'M_FORBIDDEN'],
      [403, 'M_FORBIDDEN'],
      [403, 'M_FORBIDDEN'],
      [400, 'M_BAD_JSON'],
      [400, 'M_INVALID_PARAM'],
      [400, 'M_INVALID_PARAM'],
    ])
  })

  test('are bounded', async () => {
    const roomId = someRoom()
    const tags = Object.fromEntries(Array.from({ length: 200 }, (_, index) => [`u.${index}`, {}]))
    await home.story.accountData(alice.userId, roomId, 'm.tag', { tags })
    const { status, body } = await alice.client.put(path(alice, roomId, 'u.one more'), {})
    expect([status, body.errcode]).toEqual([413, 'M_TOO_LARGE'])
    expect((await alice.client.put(path(alice, roomId, 'u.7'), { order: 0 })).status).toBe(200)
  })
})

describe('invites', () => {
  test.each([
    ['m.invite_permission_config', { default_action: 'block' }],
    ['m.ignored_user_list', { ignored_users: { [alice.userId]: {} } }],
  ])(
    'are not shown to who wants none (%s), since when they may have come',
    async (type, content) => {
      const carol = await home.person('carol')
      const room = await home.story.room(alice.userId)
      const { next_batch: since } = await home.story.sync(carol.userId)
      await room.member(carol.userId, 'invite', { by: alice.userId })
      const shown = await home.story.sync(carol.userId, { since })
      expect(Object.keys(shown.rooms?.invite ?? {})).toEqual([room.roomId])
      await home.story.accountData(carol.userId, '', type, content)
      for (const options of [{}, { since }])
        expect((await home.story.sync(carol.userId, options)).rooms?.invite).toBeUndefined()
      await home.story.accountData(carol.userId, '', type, {})
      expect((await home.story.sync(carol.userId)).rooms?.invite).toHaveProperty([room.roomId])
    },
  )
})
