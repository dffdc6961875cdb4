import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { StoryRoom } from '#test/engine/read/story.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const { story } = home

const path = (roomId: string, userId: string) =>
  `/rooms/${encodeURIComponent(roomId)}/typing/${encodeURIComponent(userId)}`

async function pair(): Promise<{ alice: Person; bob: Person; room: StoryRoom }> {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const room = await story.room(alice.userId)
  await room.member(bob.userId, 'join')
  return { alice, bob, room }
}

const type = ({ client, userId }: Person, room: StoryRoom, body: object = { typing: true }) =>
  client.put(path(room.roomId, userId), body)

const ephemeral = async (who: Person, room: StoryRoom, since?: string, filter?: object) => {
  const answer = await story.sync(who.userId, {
    ...(since && { since }),
    ...(filter && { filter }),
  })
  const joined = answer.rooms?.join?.[room.roomId] as
    { ephemeral?: { events: object[] } } | undefined
  return { events: joined?.ephemeral?.events, next: answer.next_batch }
}

const typists = (...people: Person[]) => [
  { type: 'm.typing', content: { user_ids: people.map(({ userId }) => userId) } },
]

describe('typing', () => {
  test('reaches who waits in the room, once, and its end too', async () => {
    const { alice, bob, room } = await pair()
    const { next } = await ephemeral(bob, room)
    const waiting = story.sync(bob.userId, { since: next, timeoutMs: 30_000 })
    expect((await type(alice, room, { typing: true, timeout: 20_000 })).status).toBe(200)
    const woken = await waiting
    expect(woken.rooms?.join?.[room.roomId]).toEqual({
      ephemeral: { events: typists(alice) },
      timeline: { events: [], limited: false },
    } as never)
    const again = await ephemeral(bob, room, woken.next_batch)
    expect(again.events).toBeUndefined()
    await type(alice, room, { typing: false })
    expect((await ephemeral(bob, room, again.next)).events).toEqual(typists())
    expect(story.typingTold.filter(([roomId]) => roomId === room.roomId)).toEqual([
      [room.roomId, alice.userId, true],
      [room.roomId, alice.userId, false],
    ])
  })

  test('is told in a first sync while it lasts', async () => {
    const { alice, bob, room } = await pair()
    await type(alice, room, { typing: true, timeout: 5_000 })
    expect((await ephemeral(bob, room)).events).toEqual(typists(alice))
    story.typingMs += 5_000
    story.typing.sweep()
    expect((await ephemeral(bob, room)).events).toEqual([])
  })

  test('is over after a restart, and those who were told of it are told so', async () => {
    const { alice, bob, room } = await pair()
    await type(alice, room)
    const { next } = await ephemeral(bob, room)
    const later = await story.restart()
    const answer = await later.sync(bob.userId, { since: next })
    expect(answer.rooms?.join?.[room.roomId]).toMatchObject({ ephemeral: { events: typists() } })
    const after = await later.sync(bob.userId, { since: answer.next_batch })
    expect(after.rooms).toBeUndefined()
    later.positions.close()
  })

  test('is left out by a filter', async () => {
    const { alice, bob, room } = await pair()
    await type(alice, room)
    const filter = { room: { ephemeral: { not_types: ['m.typing'] } } }
    expect((await ephemeral(bob, room, undefined, filter)).events).toEqual([])
  })

  test('of ignored users is not shown', async () => {
    const { alice, bob, room } = await pair()
    const content = { ignored_users: { [alice.userId]: {} } }
    await story.accountData(bob.userId, '', 'm.ignored_user_list', content)
    await type(alice, room)
    expect((await ephemeral(bob, room)).events).toEqual([])
  })

  test('is of who is in the room, and says it', async () => {
    const { alice, bob, room } = await pair()
    const eve = await home.person('eve')
    const answers = [
      await alice.client.put(path(room.roomId, bob.userId), { typing: true }),
      await type(eve, room),
      await type(eve, room, { typing: false }),
      await eve.client.put(path('!none:here.example', eve.userId), { typing: true }),
      await type(alice, room, {}),
      await type(alice, room, { typing: 'yes' }),
      await type(alice, room, { typing: true, timeout: -1 }),
    ]
    expect(answers.map(({ status, body }) => [status, body.errcode])).toEqual([
      [403, 'M_FORBIDDEN'],
      [403, 'M_FORBIDDEN'],
      [403, 'M_FORBIDDEN'],
      [403, 'M_FORBIDDEN'],
      [400, 'M_BAD_JSON'],
      [400, 'M_BAD_JSON'],
      [400, 'M_BAD_JSON'],
    ])
  })
})
