import { describe, expect, test } from 'bun:test'
import { parseEdu } from '#core/event/edu.ts'
import type { JsonObject } from '#core/json.ts'
import { testDatabase } from '#test/database.ts'
import type { StoryRoom, SyncAnswer } from '#test/engine/read/story.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const { story } = home
const enc = encodeURIComponent

/** A room of two users of ours. */
async function pair(): Promise<{ alice: Person; bob: Person; room: StoryRoom }> {
  const alice = await home.person('alice')
  const bob = await home.person('bob')
  const room = await story.room(alice.userId)
  await room.member(bob.userId, 'join')
  return { alice, bob, room }
}

const read = async (
  { client }: Person,
  room: StoryRoom,
  type: string,
  eventId: string,
  body: object = {},
) => {
  const answer = await client.post(
    `/rooms/${enc(room.roomId)}/receipt/${type}/${enc(eventId)}`,
    body,
  )
  return [answer.status, answer.body.errcode] as [number, string | undefined]
}

type Shown = { ephemeral?: { events: { type: string; content: JsonObject }[] } } | undefined
const receiptsIn = (answer: SyncAnswer, { roomId }: StoryRoom) =>
  (answer.rooms?.join?.[roomId] as Shown)?.ephemeral?.events.find(
    ({ type }) => type === 'm.receipt',
  )?.content
const ok = [200, undefined]

describe('a receipt', () => {
  test('is shown to the others of the room, who wake for it, and to who comes later', async () => {
    const { alice, bob, room } = await pair()
    const { eventId } = await room.send(alice.userId, 'x')
    const { next_batch: since } = await story.sync(alice.userId)
    const waiting = story.sync(alice.userId, { since, timeoutMs: 60_000 })
    expect(await read(bob, room, 'm.read', eventId)).toEqual(ok as never)
    const content = { [eventId]: { 'm.read': { [bob.userId]: { ts: home.now } } } }
    const answer = await waiting
    expect(receiptsIn(answer, room)).toEqual(content)
    expect(receiptsIn(await story.sync(alice.userId), room)).toEqual(content)
    const again = await story.sync(alice.userId, { since: answer.next_batch })
    expect(again.rooms?.join).toBeUndefined()
    // Another process knows nothing of what moved when.
    const other = await (await story.restart()).sync(alice.userId, { since })
    expect(receiptsIn(other, room)).toEqual(content)
  })

  test('that is private is shown to its user alone', async () => {
    const { alice, bob, room } = await pair()
    const { eventId } = await room.send(alice.userId, 'x')
    const before = { alice: await story.sync(alice.userId), bob: await story.sync(bob.userId) }
    await read(bob, room, 'm.read.private', eventId)
    const shown = async ({ userId }: Person, since?: string) =>
      receiptsIn(await story.sync(userId, { since }), room)
    const content = { [eventId]: { 'm.read.private': { [bob.userId]: { ts: home.now } } } }
    expect(await shown(bob, before.bob.next_batch)).toEqual(content)
    expect(await shown(bob)).toEqual(content)
    expect(await shown(alice, before.alice.next_batch)).toBeUndefined()
    expect(await shown(alice)).toBeUndefined()
    expect(home.edus).toEqual([])
  })

  test('moves forwards only, each type and thread for itself', async () => {
    const { alice, bob, room } = await pair()
    const first = await room.send(alice.userId, '1')
    const second = await room.send(alice.userId, '2')
    await read(bob, room, 'm.read', second.eventId)
    expect(await read(bob, room, 'm.read', first.eventId)).toEqual(ok as never)
    expect(await read(bob, room, 'm.read', first.eventId, { thread_id: 'main' })).toEqual(
      ok as never,
    )
    expect(receiptsIn(await story.sync(alice.userId), room)).toEqual({
      [second.eventId]: { 'm.read': { [bob.userId]: { ts: home.now } } },
      [first.eventId]: { 'm.read': { [bob.userId]: { ts: home.now, thread_id: 'main' } } },
    })
  })

  test('of a thread is on an event of that thread', async () => {
    const { alice, bob, room } = await pair()
    const root = await room.send(alice.userId, 'root')
    const other = await room.send(alice.userId, 'other')
    const relation = { rel_type: 'm.thread', event_id: root.eventId }
    const reply = await room.tell(alice.userId, 'm.room.message', {
      body: 'in',
      'm.relates_to': relation,
    })
    const toReply = { rel_type: 'm.annotation', event_id: reply.eventId, key: 'x' }
    const reaction = await room.tell(alice.userId, 'm.reaction', { 'm.relates_to': toReply })
    const inThread = (eventId: string, threadId: unknown) =>
      read(bob, room, 'm.read', eventId, { thread_id: threadId })
    expect(await inThread(reply.eventId, root.eventId)).toEqual(ok as never)
    expect(await inThread(reaction.eventId, root.eventId)).toEqual(ok as never)
    expect(await inThread(root.eventId, root.eventId)).toEqual(ok as never)
    expect(await inThread(root.eventId, 'main')).toEqual(ok as never)
    for (const [eventId, threadId] of [
      [other.eventId, root.eventId],
      [reply.eventId, 'main'],
      [reply.eventId, ''],
      [reply.eventId, 7],
      [reply.eventId, 'thread'],
    ] as const)
      expect(await inThread(eventId, threadId)).toEqual([400, 'M_INVALID_PARAM'])
    const fully = await read(bob, room, 'm.fully_read', reply.eventId, { thread_id: 'main' })
    expect(fully).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('is of a member, on an event of the room, of a known type', async () => {
    const { alice, bob, room } = await pair()
    const stranger = await home.person('stranger')
    const elsewhere = await story.room(stranger.userId)
    const { eventId } = await room.send(alice.userId, 'x')
    const other = await elsewhere.send(stranger.userId, 'x')
    expect(await read(stranger, room, 'm.read', eventId)).toEqual([403, 'M_FORBIDDEN'])
    expect(await read(bob, room, 'm.read', other.eventId)).toEqual([404, 'M_NOT_FOUND'])
    expect(await read(bob, room, 'm.read', '$nothing')).toEqual([404, 'M_NOT_FOUND'])
    expect(await read(bob, room, 'm.written', eventId)).toEqual([400, 'M_INVALID_PARAM'])
  })

  test('of who left is not shown to who comes later', async () => {
    const { alice, bob, room } = await pair()
    const { eventId } = await room.send(alice.userId, 'x')
    await read(bob, room, 'm.read', eventId)
    await room.member(bob.userId, 'leave')
    expect(receiptsIn(await story.sync(alice.userId), room)).toBeUndefined()
  })
})

test('markers of how far all is read are account data, and move with receipts in one request', async () => {
  const { alice, bob, room } = await pair()
  const first = await room.send(alice.userId, '1')
  const { eventId } = await room.send(alice.userId, '2')
  const before = await story.sync(bob.userId)
  const path = `/rooms/${enc(room.roomId)}/read_markers`
  const set = (body: object) => bob.client.post(path, body)
  expect((await set({ 'm.fully_read': eventId, 'm.read': first.eventId })).status).toBe(200)
  const told = (await story.sync(bob.userId, { since: before.next_batch })).rooms!.join![
    room.roomId
  ]!
  expect(told.account_data.events).toEqual([
    { type: 'm.fully_read', content: { event_id: eventId } },
  ])
  expect(receiptsIn(await story.sync(alice.userId), room)).toEqual({
    [first.eventId]: { 'm.read': { [bob.userId]: { ts: home.now } } },
  })
  // Backwards: nothing happens.
  expect(await read(bob, room, 'm.fully_read', first.eventId)).toEqual(ok as never)
  const kept = `/user/${enc(bob.userId)}/rooms/${enc(room.roomId)}/account_data/m.fully_read`
  expect((await bob.client.get(kept)).body).toEqual({ event_id: eventId })
  expect((await set({})).status).toBe(200)
  expect((await set({ 'm.read': '$unknown' })).status).toBe(404)
  expect((await set({ 'm.read': 7 })).body.errcode).toBe('M_BAD_JSON')
})

describe('between servers', () => {
  test('a public receipt goes to the others of the room, and what does not move says nothing', async () => {
    const { alice, bob, room } = await pair()
    await room.member('@zoe:there.example', 'join')
    const { eventId } = await room.send(alice.userId, 'x')
    home.edus.length = 0
    await read(bob, room, 'm.read', eventId)
    await read(bob, room, 'm.read', eventId)
    await read(bob, room, 'm.read.private', eventId)
    expect(home.edus.map(({ servers }) => servers)).toEqual([['there.example']])
    const edu = JSON.parse(home.edus[0]!.edu) as JsonObject
    expect(parseEdu(edu, 'here.example')).toEqual({
      type: 'm.receipt',
      receipts: [
        { roomId: room.roomId, userId: bob.userId, eventId, threadId: undefined, ts: home.now },
      ],
    })
  })

  test('those of members are taken, and of nobody else', async () => {
    const { alice, room } = await pair()
    await room.member('@zoe:there.example', 'join')
    const { eventId } = await room.send(alice.userId, 'x')
    const told = (userId: string, more: object = {}) => ({
      roomId: room.roomId,
      userId,
      eventId,
      threadId: undefined,
      ts: 7,
      ...more,
    })
    home.ctx.receipts.take('there.example', [
      {
        type: 'm.receipt',
        receipts: [
          told('@zoe:there.example'),
          told('@stranger:there.example'),
          told('@zoe:there.example', { roomId: '!nowhere:there.example' }),
          told('@zoe:there.example', { threadId: '$made-up' }),
          told('@zoe:there.example', { eventId: '$no event', threadId: 'main' }),
        ],
      },
    ])
    await home.ctx.receipts.close()
    const content = { [eventId]: { 'm.read': { '@zoe:there.example': { ts: 7 } } } }
    expect(receiptsIn(await story.sync(alice.userId), room)).toEqual(content)
  })

  test('a server that the room does not allow is not heard', async () => {
    const { alice, room } = await pair()
    await room.member('@zoe:there.example', 'join')
    await room.state(alice.userId, 'm.room.server_acl', '', { allow: ['here.example'] })
    const { eventId } = await room.send(alice.userId, 'x')
    const receipt = {
      roomId: room.roomId,
      userId: '@zoe:there.example',
      eventId,
      threadId: undefined,
      ts: 7,
    }
    home.ctx.receipts.take('there.example', [{ type: 'm.receipt', receipts: [receipt] }])
    await home.ctx.receipts.close()
    expect(receiptsIn(await story.sync(alice.userId), room)).toBeUndefined()
  })
})

test('a filter leaves receipts out', async () => {
  const { alice, bob, room } = await pair()
  const { eventId } = await room.send(alice.userId, 'x')
  await read(bob, room, 'm.read', eventId)
  const filtered = async (ephemeral: object) =>
    receiptsIn(await story.sync(alice.userId, { filter: { room: { ephemeral } } }), room)
  expect(await filtered({ not_types: ['m.receipt'] })).toBeUndefined()
  expect(await filtered({ not_rooms: [room.roomId] })).toBeUndefined()
  expect(await filtered({ types: ['m.*'] })).toBeDefined()
})
