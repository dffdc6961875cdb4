import { afterAll, describe, expect, test } from 'bun:test'
import type { Scope } from '#engine/sync/sliding/request.ts'
import { shardOf } from '#core/shard.ts'
import { pushFacts } from '#core/push/facts.ts'
import { UserShards } from '#engine/user/owner.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { SlidingClients } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const users = new UserShards(db.pool, { onCommit: (pairs) => story.positions.advanceUsers(pairs) })
afterAll(() => users.close())
const clients = new SlidingClients(story)
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`
const everywhere: Scope = { lists: undefined, rooms: undefined }

async function pair() {
  const [alice, bob] = [person('alice'), person('bob')]
  const room = await story.room(alice)
  await room.member(bob, 'join')
  return { alice, bob, room }
}

const read = (
  userId: string,
  { roomId }: StoryRoom,
  { eventId, position }: { eventId: string; position: number | null },
  type: 'm.read' | 'm.read.private' = 'm.read',
) =>
  users.call('putReceipts', userId, [
    { roomId, type, threadId: '', eventId, eventPosition: position, ts: 1 },
  ])

describe('account data', () => {
  const extensions = { accountData: everywhere }
  const ask = (userId: string, pos?: string, lists: object = { all: {} }, more: object = {}) =>
    clients.ask(userId, { pos, lists, extensions, ...more } as never)

  test('is told whole at first, then what is new; of rooms in sight only', async () => {
    const alice = person('alice')
    const [hidden, room] = [await story.room(alice), await story.room(alice)]
    await story.accountData(alice, '', 'x.global', { a: 1 })
    await story.accountData(alice, room.roomId, 'x.room', { b: 1 })
    await story.accountData(alice, hidden.roomId, 'x.room', { c: 1 })
    const lists = { all: { ranges: [[0, 0]] } }
    const first = await ask(alice, undefined, lists)
    const { global, rooms } = first.extensions.account_data!
    expect(global.map(({ type }) => type)).toEqual(['m.push_rules', 'x.global'])
    expect(rooms).toEqual({ [room.roomId]: [{ type: 'x.room', content: { b: 1 } }] })
    await story.accountData(alice, room.roomId, 'x.room', { b: 2 })
    await story.accountData(alice, hidden.roomId, 'x.more', { d: 1 })
    const next = await ask(alice, first.pos, lists)
    expect(next.extensions.account_data).toEqual({
      global: [],
      rooms: { [room.roomId]: [{ type: 'x.room', content: { b: 2 } }] },
    })
    // What comes into sight comes with all of its data.
    const wide = await ask(alice, next.pos, { all: {} })
    expect(wide.extensions.account_data!.rooms).toEqual({
      [hidden.roomId]: [
        { type: 'x.room', content: { c: 1 } },
        { type: 'x.more', content: { d: 1 } },
      ],
    })
    const quiet = await ask(alice, wide.pos)
    expect(quiet.extensions.account_data).toEqual({ global: [], rooms: {} })
  })

  test('wakes who waits', async () => {
    const alice = person('alice')
    const { pos } = await ask(alice)
    const waiting = ask(alice, pos, {}, { timeoutMs: 60_000 })
    await story.accountData(alice, '', 'x.late', {})
    expect((await waiting).extensions.account_data!.global).toEqual([
      { type: 'x.late', content: {} },
    ])
  })

  test('is told for the lists and subscriptions that the extension names', async () => {
    const alice = person('alice')
    const [direct, other] = [await story.room(alice), await story.room(alice)]
    await story.accountData(alice, '', 'm.direct', { '@bob:x': [direct.roomId] })
    for (const { roomId } of [direct, other]) await story.accountData(alice, roomId, 'x', {})
    const told = async (scope: Scope) => {
      const answer = await clients.ask(alice, {
        lists: { dms: { filters: { isDm: true } }, others: { filters: { isDm: false } } },
        subscriptions: { [other.roomId]: {} },
        extensions: { accountData: scope },
      })
      return Object.keys(answer.extensions.account_data!.rooms)
    }
    const none = new Set<string>()
    expect(await told({ lists: new Set(['dms']), rooms: none })).toEqual([direct.roomId])
    expect(await told({ lists: none, rooms: new Set([other.roomId]) })).toEqual([other.roomId])
    expect(await told({ lists: none, rooms: new Set([direct.roomId]) })).toEqual([])
  })
})

describe('receipts', () => {
  const extensions = { receipts: everywhere }
  const ask = (userId: string, pos?: string, more: object = {}) =>
    clients.ask(userId, { pos, lists: { all: { limit: 2 } }, extensions, ...more })

  test('are one’s own, and those on what is told; then those that move', async () => {
    const { alice, bob, room } = await pair()
    const old = await room.send(alice, 'old')
    const [one, two] = [await room.send(alice, 'one'), await room.send(alice, 'two')]
    const carol = person('carol')
    await room.member(carol, 'join')
    await read(carol, room, old)
    await read(alice, room, two)
    await read(bob, room, one, 'm.read.private')
    const first = await ask(bob)
    expect(first.extensions.receipts!.rooms).toEqual({
      [room.roomId]: {
        type: 'm.receipt',
        content: {
          [one.eventId]: { 'm.read.private': { [bob]: { ts: 1 } } },
          [two.eventId]: { 'm.read': { [alice]: { ts: 1 } } },
        },
      },
    } as never)
    const waiting = ask(bob, first.pos, { timeoutMs: 60_000 })
    await read(carol, room, two)
    const woken = await waiting
    expect(woken.extensions.receipts!.rooms[room.roomId]!.content).toEqual({
      [two.eventId]: { 'm.read': { [carol]: { ts: 1 } } },
    })
    expect(woken.rooms).toEqual({})
    expect((await ask(bob, woken.pos)).extensions.receipts!.rooms).toEqual({})
  })

  test('of others that are private, and of whom one ignores, are not told', async () => {
    const { alice, bob, room } = await pair()
    const event = await room.send(bob, 'x')
    await read(alice, room, event, 'm.read.private')
    expect((await ask(bob)).extensions.receipts!.rooms).toEqual({})
    await read(alice, room, event)
    await story.accountData(bob, '', 'm.ignored_user_list', { ignored_users: { [alice]: {} } })
    expect((await ask(bob)).extensions.receipts!.rooms).toEqual({})
  })

  test('come with the counts of what is unread then', async () => {
    const { alice, bob, room } = await pair()
    const event = await room.send(alice, 'ping', { pushFlags: pushFacts.notify })
    const first = await ask(bob)
    expect(first.rooms[room.roomId]!.notification_count).toBe(1)
    await read(bob, room, event)
    const next = await ask(bob, first.pos)
    expect(next.rooms).toEqual({
      [room.roomId]: { notification_count: 0, highlight_count: 0 },
    } as never)
  })
})

describe('typing', () => {
  const extensions = { typing: everywhere }
  const ask = (userId: string, pos?: string, more: object = {}) =>
    clients.ask(userId, { pos, lists: { all: {} }, extensions, ...more })
  const typists = (room: StoryRoom, ...userIds: string[]) => ({
    [room.roomId]: { type: 'm.typing', content: { user_ids: userIds } },
  })

  test('wakes who waits, is told once, and its end too', async () => {
    const { alice, bob, room } = await pair()
    const { pos } = await ask(bob)
    const waiting = ask(bob, pos, { timeoutMs: 60_000 })
    await story.positions.settled()
    story.typing.start(room, alice, 20_000)
    const woken = await waiting
    expect(woken.extensions.typing!.rooms).toEqual(typists(room, alice))
    const again = await ask(bob, woken.pos)
    expect(again.extensions.typing!.rooms).toEqual({})
    story.typing.stop(room, alice)
    expect((await ask(bob, again.pos)).extensions.typing!.rooms).toEqual(typists(room))
  })

  test('is told of a room that comes into sight', async () => {
    const { alice, bob, room } = await pair()
    const none = { lists: {} }
    const { pos } = await ask(bob, undefined, none)
    story.typing.start(room, alice, 20_000)
    const blind = await ask(bob, pos, none)
    expect(blind.extensions.typing!.rooms).toEqual({})
    const seeing = await ask(bob, blind.pos)
    expect(seeing.extensions.typing!.rooms).toEqual(typists(room, alice))
  })
})

describe('messages to a device', () => {
  const device = 'DEVICE'
  /** Leaves a message, as the owner of the user's shard does. */
  async function leave(userId: string, n: number): Promise<void> {
    const shard = shardOf(userId)
    const position = await db.pool.begin(async (sql) => {
      const [row] = await sql<{ position: number }[]>`
        update user_shards set position = position + 1 where shard = ${shard} returning position`
      await sql`
        insert into to_device (shard, user_id, device_id, position, sender, type, content)
        values (${shard}, ${userId}, ${device}, ${row!.position}, '@x:x', 'x', ${`{"n":${n}}`})`
      return row!.position
    })
    story.positions.advanceUsers([[shard, position]])
  }
  const left = async (userId: string) =>
    (await db.pool`select from to_device where user_id = ${userId}`).length
  async function ask(userId: string, since: number | string, limit = 100, more: object = {}) {
    const answer = await clients.ask(userId, {
      extensions: { toDevice: { since: Number(since), limit } },
      ...more,
    })
    const { next_batch: next, events } = answer.extensions.to_device!
    return { next, ns: events.map(({ content }) => (content as { n: number }).n), pos: answer.pos }
  }

  test('are told until the client says that it has them, in their order, so many at a time', async () => {
    const alice = person('alice')
    for (const n of [1, 2, 3]) await leave(alice, n)
    const first = await ask(alice, 0, 2)
    expect(first.ns).toEqual([1, 2])
    // The answer was lost.
    expect((await ask(alice, 0, 2)).ns).toEqual([1, 2])
    expect(await left(alice)).toBe(3)
    const second = await ask(alice, first.next, 2)
    expect(second.ns).toEqual([3])
    expect(await left(alice)).toBe(1)
    expect((await ask(alice, second.next)).ns).toEqual([])
    expect(await left(alice)).toBe(0)
  })

  test('wake who waits', async () => {
    const alice = person('alice')
    const { pos, next } = await ask(alice, 0)
    const waiting = ask(alice, next, 100, { pos, timeoutMs: 60_000 })
    await leave(alice, 7)
    expect((await waiting).ns).toEqual([7])
  })

  test('are not dropped for a token from another life', async () => {
    const alice = person('alice')
    await leave(alice, 1)
    const answer = await ask(alice, 999_999_999)
    expect(answer).toMatchObject({ next: '999999999', ns: [] })
    expect(await left(alice)).toBe(1)
  })
})

describe('encryption', () => {
  test('tells what is left of keys, and whose devices changed', async () => {
    const { alice, bob, room } = await pair()
    const extensions = { e2ee: true as const }
    const first = await clients.ask(alice, { extensions })
    expect(first.extensions.e2ee).toEqual({
      device_one_time_keys_count: { signed_curve25519: 0 },
      device_unused_fallback_key_types: [],
    })
    await room.member(bob, 'leave')
    const next = await clients.ask(alice, { pos: first.pos, extensions })
    expect(next.extensions.e2ee!.device_lists).toEqual({ changed: [], left: [bob] })
    const later = await clients.ask(alice, { pos: next.pos, extensions })
    expect(later.extensions.e2ee!.device_lists).toEqual({ changed: [], left: [] })
  })

  test('and what is not asked for is not told', async () => {
    const alice = person('alice')
    expect((await clients.ask(alice, {})).extensions).toEqual({})
  })
})
