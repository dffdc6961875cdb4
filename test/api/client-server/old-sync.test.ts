import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { Front } from './front.ts'

const db = await testDatabase()
let story: Story
let front: Front
beforeAll(async () => {
  story = await Story.begin(db.pool)
  front = new Front(story)
})
afterAll(() => front.close())

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`
type Room = { room_id: string; membership: string; messages: any; state: any[] } & Record<
  string,
  any
>
const initial = async (user: string, query = '') => {
  const { status, body } = await front.get(`/initialSync${query}`, user)
  expect(status).toBe(200)
  return body as { end: string; rooms: Room[]; presence: object[]; account_data: object[] }
}
const events = async (user: string, query = '') =>
  (await front.get(`/events${query}`, user)).body as { start: string; end: string; chunk: any[] }
const enc = encodeURIComponent

describe('initialSync', () => {
  test('tells the rooms of a user, as they are, with the last messages', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.state(alice, 'm.room.topic', '', { topic: 'tea' })
    const told = [await room.send(alice, 'one'), await room.send(alice, 'two')]
    const asked = await story.room(bob)
    const invite = await asked.member(alice, 'invite', { by: bob })
    const gone = await story.room(bob)
    await gone.member(alice, 'join')
    await gone.member(alice, 'ban', { by: bob })
    await story.accountData(alice, '', 'org.x', { kept: 1 })
    await story.accountData(alice, room.roomId, 'm.tag', { tags: {} })

    const { rooms, presence, account_data: kept } = await initial(alice, '?limit=2')
    expect(presence).toEqual([])
    expect(kept).toContainEqual({ type: 'org.x', content: { kept: 1 } })
    expect(rooms.map((each) => [each.room_id, each.membership])).toEqual([
      [room.roomId, 'join'],
      [asked.roomId, 'invite'],
    ])
    const [first, second] = rooms
    expect(first!.messages.chunk).toMatchObject(
      told.map(({ eventId }) => ({ event_id: eventId, room_id: room.roomId })),
    )
    expect(first!.state.find(({ type }) => type === 'm.room.topic')).toMatchObject({
      content: { topic: 'tea' },
    })
    expect(first).toMatchObject({
      visibility: 'private',
      account_data: [{ type: 'm.tag', content: { tags: {} } }],
    })
    expect(second!['invite']).toMatchObject({ event_id: invite.eventId, sender: bob })

    const older = await front.get(
      `/rooms/${enc(room.roomId)}/messages?dir=b&from=${first!.messages.start}`,
      alice,
    )
    expect(older.body['chunk']).toHaveLength(4)
    const all = await initial(alice, '?archived=true')
    expect(all.rooms.find((each) => each.room_id === gone.roomId)).toMatchObject({
      membership: 'ban',
    })
    expect((await front.get('/initialSync?limit=-1', alice)).status).toBe(400)
  })
})

describe('events', () => {
  test('tells what comes after a token, once', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const { end } = await initial(alice)
    const said = await room.send(alice, 'news')
    const asked = await story.room(bob)
    const invite = await asked.member(alice, 'invite', { by: bob })
    const first = await events(alice, `?from=${end}`)
    expect(first.start).toBe(end)
    expect(first.chunk).toMatchObject([
      { event_id: said.eventId, room_id: room.roomId },
      { event_id: invite.eventId, room_id: asked.roomId },
    ])
    expect((await events(alice, `?from=${first.end}`)).chunk).toEqual([])
    // Without a token it begins now.
    const now = await events(alice)
    expect(now.chunk).toEqual([])
    await room.send(alice, 'more')
    expect((await events(alice, `?from=${now.end}`)).chunk).toHaveLength(1)
    expect((await front.get('/events?from=nonsense', alice)).status).toBe(400)
  })

  test('waits for what is to come', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { end } = await initial(alice)
    const waiting = events(alice, `?from=${end}&timeout=60000`)
    const said = await room.send(alice, 'at last')
    expect((await waiting).chunk).toMatchObject([{ event_id: said.eventId }])
  })

  test('leaves messages for the device where they are', async () => {
    const alice = someone('alice')
    await story.room(alice)
    const { end } = await initial(alice)
    const shard = shardOf(alice)
    const [row] = await story.sql<{ position: number }[]>`
      update user_shards set position = position + 1 where shard = ${shard} returning position`
    await story.sql`
      insert into to_device (shard, user_id, device_id, position, sender, type, content)
      values (${shard}, ${alice}, 'DEVICE', ${row!.position}, '@x:y', 'm.x', '{}')`
    story.positions.advanceUsers([[shard, row!.position]])
    const next = await events(alice, `?from=${end}`)
    await events(alice, `?from=${next.end}`)
    const left = await story.sql`select from to_device where user_id = ${alice}`
    expect(left).toHaveLength(1)
  })
})

describe('one event', () => {
  test('is found by its ID alone, by who may see it', async () => {
    const [alice, eve] = [someone('alice'), someone('eve')]
    const room = await story.room(alice)
    const said = await room.send(alice, 'here')
    const { body } = await front.get(`/events/${enc(said.eventId)}`, alice)
    expect(body).toMatchObject({ event_id: said.eventId, room_id: room.roomId })
    for (const [id, user] of [
      [said.eventId, eve],
      ['$none', alice],
    ] as const)
      expect(await front.get(`/events/${enc(id)}`, user)).toMatchObject({
        status: 404,
        body: { errcode: 'M_NOT_FOUND' },
      })
  })
})

describe('initialSync of one room', () => {
  const of = (room: { roomId: string }, user: string) =>
    front.get(`/rooms/${enc(room.roomId)}/initialSync`, user)

  test('tells its state and its last messages, oldest first', async () => {
    const [alice, eve] = [someone('alice'), someone('eve')]
    const room = await story.room(alice)
    const told = [await room.send(alice, 'one'), await room.send(alice, 'two')]
    await story.accountData(alice, room.roomId, 'm.tag', { tags: {} })
    const { body } = await of(room, alice)
    const { messages, state } = body as Room
    expect(messages.chunk.slice(-2)).toMatchObject(
      told.map(({ eventId }) => ({ event_id: eventId })),
    )
    expect(state).toHaveLength(3)
    expect(body).toMatchObject({
      room_id: room.roomId,
      membership: 'join',
      visibility: 'private',
      account_data: [{ type: 'm.tag' }],
    })
    const after = await room.send(alice, 'three')
    const next = await events(alice, `?from=${messages.end}`)
    expect(next.chunk).toMatchObject([{ event_id: after.eventId }])
    expect(await of(room, eve)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } })
  })

  test('of one that was left ends there; of one that anybody may read it is for all', async () => {
    const [alice, bob, eve] = [someone('alice'), someone('bob'), someone('eve')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.state(alice, 'm.room.topic', '', { topic: 'then' })
    await room.member(bob, 'leave')
    await room.state(alice, 'm.room.topic', '', { topic: 'later' })
    const { body } = await of(room, bob)
    expect(body).toMatchObject({ membership: 'leave' })
    const topic = (body as Room).state.find(({ type }) => type === 'm.room.topic')
    expect(topic.content).toEqual({ topic: 'then' })

    const open = await story.room(alice, { visibility: 'world_readable' })
    const peek = await of(open, eve)
    expect(peek.status).toBe(200)
    expect(peek.body).not.toHaveProperty('membership')
  })
})
