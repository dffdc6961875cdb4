import { describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { pushFacts } from '#core/push/facts.ts'
import type { RuleEdit } from '#core/push/ruleset.ts'
import { UserShards } from '#engine/user/owner.ts'
import { UnreadCounts } from '#engine/sync/unread.ts'
import { UserFacts } from '#engine/sync/user-facts.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const users = new UserShards(db.pool, { onCommit: (pairs) => story.positions.advanceUsers(pairs) })
const { notify, highlight, threaded, roomNotifier } = pushFacts
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`

async function pair() {
  const alice = person('alice')
  const bob = person('bob')
  const room = await story.room(alice)
  await room.member(bob, 'join')
  return { alice, bob, room }
}

const say = (
  room: StoryRoom,
  sender: string,
  more: { mentions?: readonly string[]; pushFlags?: number } = {},
) => {
  const mentioned = more.mentions && { 'm.mentions': { user_ids: [...more.mentions] } }
  const content = { msgtype: 'm.text', body: 'hello', ...mentioned }
  return room.tell(sender, 'm.room.message', content, { pushFlags: notify, ...more })
}
const inThread = (room: StoryRoom, sender: string, root: string) =>
  room.tell(
    sender,
    'm.room.message',
    { body: 'in', 'm.relates_to': { rel_type: 'm.thread', event_id: root } },
    { pushFlags: notify | threaded },
  )

const read = (
  userId: string,
  { roomId }: StoryRoom,
  { eventId, position }: { eventId: string; position: number | null },
  threadId = '',
  type: 'm.read' | 'm.read.private' = 'm.read',
) =>
  users.call('putReceipts', userId, [
    { roomId, type, threadId, eventId, eventPosition: position, ts: 1 },
  ])

const apart = { room: { timeline: { unread_thread_notifications: true } } }
/** [notifications, highlights], and by thread if they are asked for. */
async function counts(
  userId: string,
  room: StoryRoom,
  filter: object = {},
  since?: string,
): Promise<unknown> {
  const answer = await story.sync(userId, { filter, since })
  const told = answer.rooms?.join?.[room.roomId]
  const of = (each: { notification_count: number; highlight_count: number }) =>
    [each.notification_count, each.highlight_count] as const
  if (!told) return undefined
  const threads = told.unread_thread_notifications
  if (!threads) return of(told.unread_notifications)
  const byRoot = Object.fromEntries(Object.entries(threads).map(([root, each]) => [root, of(each)]))
  return [of(told.unread_notifications), byRoot]
}

describe('by the default rules', () => {
  test('what others said since one came is unread, with mentions as highlights', async () => {
    const { alice, bob, room } = await pair()
    expect(await counts(bob, room)).toEqual([0, 0])
    await say(room, alice)
    await room.state(alice, 'm.room.name', '', { name: 'x' })
    await say(room, alice, { mentions: [bob] })
    await say(room, alice, { pushFlags: notify | highlight })
    expect(await counts(bob, room)).toEqual([3, 2])
    expect(await counts(alice, room)).toEqual([0, 0])
  })

  test('the counts come with the event, and with the receipt that takes them back', async () => {
    const { alice, bob, room } = await pair()
    const { next_batch: since } = await story.sync(bob)
    const said = await say(room, alice)
    expect(await counts(bob, room, {}, since)).toEqual([1, 0])
    const { next_batch: later } = await story.sync(bob, { since })
    await read(bob, room, said, '', 'm.read.private')
    expect(await counts(bob, room, {}, later)).toEqual([0, 0])
    await say(room, alice)
    expect(await counts(bob, room)).toEqual([1, 0])
  })

  test('what one says oneself is read, with all before it', async () => {
    const { alice, bob, room } = await pair()
    await say(room, alice)
    await say(room, bob)
    expect(await counts(bob, room)).toEqual([0, 0])
    await say(room, alice)
    expect(await counts(bob, room)).toEqual([1, 0])
    expect(await counts(alice, room)).toEqual([0, 0])
  })

  test('threads count for themselves if a client asks for it, else with the rest', async () => {
    const { alice, bob, room } = await pair()
    const root = await say(room, alice)
    const other = await say(room, alice)
    await inThread(room, alice, root.eventId)
    const second = await inThread(room, alice, root.eventId)
    await inThread(room, alice, other.eventId)
    expect(await counts(bob, room)).toEqual([5, 0])
    const both = { [root.eventId]: [2, 0], [other.eventId]: [1, 0] }
    expect(await counts(bob, room, apart)).toEqual([[2, 0], both])
    await read(bob, room, second, root.eventId)
    expect(await counts(bob, room, apart)).toEqual([[2, 0], { [other.eventId]: [1, 0] }])
    await read(bob, room, other, 'main')
    expect(await counts(bob, room, apart)).toEqual([[0, 0], { [other.eventId]: [1, 0] }])
    await inThread(room, bob, other.eventId)
    expect(await counts(bob, room, apart)).toEqual([0, 0])
    const third = await inThread(room, alice, root.eventId)
    expect(await counts(bob, room)).toEqual([1, 0])
    await read(bob, room, third)
    expect(await counts(bob, room)).toEqual([0, 0])
  })

  test('whom one ignores says nothing', async () => {
    const { alice, bob, room } = await pair()
    await say(room, alice)
    await story.accountData(bob, '', 'm.ignored_user_list', { ignored_users: { [alice]: {} } })
    expect(await counts(bob, room)).toEqual([0, 0])
  })

  test('what is far back is not counted', async () => {
    const { alice, bob, room } = await pair()
    const part = room.part()
    for (let n = 0; n < 520; n++)
      await room.add(part, alice, 'm.room.message', { body: 'x' }, { pushFlags: notify })
    await room.commit(part)
    expect(await counts(bob, room)).toEqual([500, 0])
    const { next_batch: since } = await story.sync(bob)
    await say(room, alice)
    expect(await counts(bob, room, {}, since)).toEqual([500, 0])
  })
})

describe('by rules of one’s own', () => {
  const edit = (userId: string, change: RuleEdit) => users.call('editPushRule', userId, change)
  const word = (pattern: string): JsonObject => ({
    pattern,
    actions: ['notify', { set_tweak: 'highlight' }],
  })

  test('a word highlights, and a room can be silent', async () => {
    const { alice, bob, room } = await pair()
    await say(room, alice)
    await room.send(alice, 'some cake', { pushFlags: notify })
    expect(await counts(bob, room)).toEqual([2, 0])
    await edit(bob, { edit: 'put', kind: 'content', ruleId: 'cake', rule: word('cake') })
    expect(await counts(bob, room)).toEqual([2, 1])
    const silent = {
      edit: 'put',
      kind: 'override',
      ruleId: room.roomId,
      rule: {
        conditions: [{ kind: 'event_match', key: 'room_id', pattern: room.roomId }],
        actions: [],
      },
    } as const
    await edit(bob, silent as never)
    expect(await counts(bob, room)).toEqual([0, 0])
    await edit(bob, { edit: 'enable', kind: 'override', ruleId: room.roomId, enabled: false })
    expect(await counts(bob, room)).toEqual([2, 1])
    await say(room, bob)
    expect(await counts(bob, room)).toEqual([0, 0])
  })

  test('every room of many counts', async () => {
    const bob = person('bob')
    await edit(bob, { edit: 'put', kind: 'content', ruleId: 'cake', rule: word('cake') })
    const rooms: StoryRoom[] = []
    for (let n = 0; n < 45; n++) {
      const alice = person('alice')
      const room = await story.room(alice)
      await room.member(bob, 'join')
      await room.send(alice, n % 2 === 0 ? 'cake' : 'bread', { pushFlags: notify })
      rooms.push(room)
    }
    const { rooms: told } = await story.sync(bob)
    const found = rooms.map(({ roomId }) => told?.join?.[roomId]?.unread_notifications)
    const wanted = rooms.map((_, n) => ({
      notification_count: 1,
      highlight_count: n % 2 === 0 ? 1 : 0,
    }))
    expect(found).toEqual(wanted)
  })

  test('threads, receipts and who may notify all count as with the default rules', async () => {
    const { alice, bob, room } = await pair()
    await edit(bob, { edit: 'put', kind: 'content', ruleId: 'cake', rule: word('cake') })
    const root = await say(room, alice)
    const last = await inThread(room, alice, root.eventId)
    const all = { body: 'x', 'm.mentions': { room: true } }
    const may = { pushFlags: notify | highlight | roomNotifier }
    await room.tell(alice, 'm.room.message', all, may)
    await room.tell(alice, 'm.room.message', all, { pushFlags: notify })
    expect(await counts(bob, room, apart)).toEqual([[3, 1], { [root.eventId]: [1, 0] }])
    await read(bob, room, last, root.eventId)
    await read(bob, room, root, 'main')
    expect(await counts(bob, room, apart)).toEqual([2, 1])
  })

  test('only another sound changes no count', async () => {
    const { alice, bob, room } = await pair()
    const actions = ['notify', { set_tweak: 'sound', value: 'ding' }]
    await edit(bob, { edit: 'act', kind: 'underride', ruleId: '.m.rule.message', actions })
    await say(room, alice)
    expect(await counts(bob, room)).toEqual([1, 0])
  })
})

test('what is counted from what came is what is counted anew', async () => {
  const { alice, bob, room } = await pair()
  const carol = person('carol')
  await room.member(carol, 'join')
  await story.accountData(bob, '', 'm.ignored_user_list', { ignored_users: { [carol]: {} } })
  const root = await say(room, alice)
  let last = root
  const steps = [
    async () => (last = await say(room, alice)),
    async () => (last = await say(room, alice, { mentions: [bob] })),
    async () => (last = await say(room, alice, { pushFlags: 0 })),
    async () => (last = await say(room, carol, { mentions: [bob] })),
    async () => (last = await say(room, bob)),
    async () => (last = await inThread(room, alice, root.eventId)),
    async () => (last = await inThread(room, bob, root.eventId)),
    () => read(bob, room, last),
    () => read(bob, room, last, 'main', 'm.read.private'),
    () => read(bob, room, last, root.eventId),
    () => room.state(alice, 'm.room.topic', '', { topic: String(Math.random()) }),
  ]
  let { next_batch: since } = await story.sync(bob)
  for (let round = 0; round < 60; round++) {
    for (let n = Math.floor(Math.random() * 4); n > 0; n--)
      await steps[Math.floor(Math.random() * steps.length)]!()
    const filter = apart
    const { next_batch: next, rooms } = await story.sync(bob, { since, filter })
    since = next
    const told = rooms?.join?.[room.roomId]
    if (!told) continue
    const { unread, facts } = story
    Object.assign(story, { unread: new UnreadCounts(), facts: new UserFacts() })
    const anew = (await story.sync(bob, { filter })).rooms!.join![room.roomId]!
    Object.assign(story, { unread, facts })
    expect(told.unread_notifications).toEqual(anew.unread_notifications)
    expect(told.unread_thread_notifications).toEqual(anew.unread_thread_notifications)
  }
})
