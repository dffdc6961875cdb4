import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
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

type Event = {
  event_id: string
  content: Record<string, unknown>
  unsigned: { 'm.relations'?: Record<string, unknown> }
}

const relate = (
  room: StoryRoom,
  sender: string,
  relType: string,
  eventId: string,
  content: object = {},
  type = 'm.room.message',
) =>
  room.tell(sender, type, {
    body: 'related',
    ...content,
    'm.relates_to': { rel_type: relType, event_id: eventId },
  })

const edit = (room: StoryRoom, sender: string, eventId: string, body: string) =>
  relate(room, sender, 'm.replace', eventId, { body, 'm.new_content': { body } })

const relationsPath = (room: StoryRoom, eventId: string, rest = '') =>
  `/_matrix/client/v1/rooms/${encodeURIComponent(room.roomId)}/relations/${encodeURIComponent(eventId)}${rest}`

async function related(user: string, room: StoryRoom, eventId: string, rest = '') {
  const { status, body } = await front.get(relationsPath(room, eventId, rest), user)
  expect({ status, body }).toMatchObject({ status: 200 })
  return { ids: (body['chunk'] as Event[]).map((event) => event.event_id), body }
}

async function bundleOf(user: string, room: StoryRoom, eventId: string) {
  const { body } = await front.get(
    `/rooms/${encodeURIComponent(room.roomId)}/event/${encodeURIComponent(eventId)}`,
    user,
  )
  return (body as unknown as Event).unsigned['m.relations']
}

async function threads(user: string, room: StoryRoom, rest = '') {
  const { status, body } = await front.get(
    `/_matrix/client/v1/rooms/${encodeURIComponent(room.roomId)}/threads${rest}`,
    user,
  )
  expect({ status, body }).toMatchObject({ status: 200 })
  return { events: body['chunk'] as Event[], next: body['next_batch'] as string | undefined }
}

describe('events that relate to one', () => {
  test('come newest first, of a kind, or of a kind and type', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const a = await relate(room, alice, 'm.thread', eventId)
    const b = await relate(room, alice, 'm.annotation', eventId, {}, 'm.reaction')
    const c = await relate(room, alice, 'm.thread', eventId, {}, 'm.sticker')
    await room.send(alice, 'unrelated')
    const ids = [c.eventId, b.eventId, a.eventId]
    expect((await related(alice, room, eventId)).ids).toEqual(ids)
    expect((await related(alice, room, eventId, '?dir=f')).ids).toEqual(ids.toReversed())
    expect((await related(alice, room, eventId, '/m.thread')).ids).toEqual([c.eventId, a.eventId])
    expect((await related(alice, room, eventId, '/m.thread/m.sticker')).ids).toEqual([c.eventId])
    expect((await related(alice, room, eventId, '/m.thread/never.heard.of')).ids).toEqual([])
    expect((await related(alice, room, a.eventId)).ids).toEqual([])
  })

  test('are paged in both directions, and a token holds while more come', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const ids: string[] = []
    for (let each = 0; each < 5; each++)
      ids.push((await relate(room, alice, 'm.thread', eventId)).eventId)
    for (const dir of ['b', 'f']) {
      const order = dir === 'b' ? ids.toReversed() : ids
      const first = await related(alice, room, eventId, `?dir=${dir}&limit=2`)
      expect(first.ids).toEqual(order.slice(0, 2))
      const from = String(first.body['next_batch'])
      const second = await related(alice, room, eventId, `?dir=${dir}&limit=2&from=${from}`)
      expect(second.ids).toEqual(order.slice(2, 4))
      expect(second.body['prev_batch']).toBe(from)
      const bounded = await related(
        alice,
        room,
        eventId,
        `?dir=${dir}&to=${String(second.body['next_batch'])}`,
      )
      expect(bounded.ids).toEqual(order.slice(0, 4))
      const last = `?dir=${dir}&limit=2&from=${String(second.body['next_batch'])}`
      const third = await related(alice, room, eventId, last)
      expect(third.ids).toEqual(order.slice(4))
      expect(third.body['next_batch']).toBeUndefined()
    }
  })

  test('read by where they stand, not by when they came', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const now = await relate(room, alice, 'm.thread', eventId)
    const { chain } = now
    const old = await room.tell(
      alice,
      'm.room.message',
      { body: 'late', 'm.relates_to': { rel_type: 'm.thread', event_id: eventId } },
      { history: { chain: chain!, index: -5 } },
    )
    expect((await related(alice, room, eventId)).ids).toEqual([now.eventId, old.eventId])
  })

  test('are followed three levels deep if wanted', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const ids = [eventId]
    for (let level = 0; level < 4; level++)
      ids.push((await relate(room, alice, 'm.reference', ids.at(-1)!)).eventId)
    expect((await related(alice, room, eventId)).ids).toEqual([ids[1]!])
    const deep = await related(alice, room, eventId, '?recurse=true')
    expect(deep.ids).toEqual([ids[3]!, ids[2]!, ids[1]!])
    expect(deep.body['recursion_depth']).toBe(3)
  })

  test('are gone once they are redacted, or their sender is ignored', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { eventId } = await room.send(alice, 'here')
    const mine = await relate(room, alice, 'm.thread', eventId)
    const his = await relate(room, bob, 'm.thread', eventId)
    expect((await related(alice, room, eventId)).ids).toEqual([his.eventId, mine.eventId])
    await room.redact(alice, mine.eventId)
    expect((await related(alice, room, eventId)).ids).toEqual([his.eventId])
    expect(await bundleOf(alice, room, eventId)).toMatchObject({ 'm.thread': { count: 1 } })
    await story.accountData(alice, '', 'm.ignored_user_list', { ignored_users: { [bob]: {} } })
    expect((await related(alice, room, eventId)).ids).toEqual([])
    expect(await bundleOf(alice, room, eventId)).toBeUndefined()
    expect((await related(bob, room, eventId)).ids).toEqual([his.eventId])
  })

  test('are not told to strangers, nor what came after one left', async () => {
    const [alice, bob, eve] = [someone('alice'), someone('bob'), someone('eve')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { eventId } = await room.send(alice, 'here')
    const before = await relate(room, alice, 'm.thread', eventId)
    await edit(room, alice, eventId, 'before')
    await room.member(bob, 'leave')
    await relate(room, alice, 'm.thread', eventId)
    await edit(room, alice, eventId, 'after')
    expect((await related(bob, room, eventId, '/m.thread')).ids).toEqual([before.eventId])
    expect(await bundleOf(bob, room, eventId)).toMatchObject({
      'm.thread': { count: 1, latest_event: { event_id: before.eventId } },
      'm.replace': { content: { body: 'before' } },
    })
    expect(await front.get(relationsPath(room, eventId), eve)).toMatchObject({
      status: 404,
      body: { errcode: 'M_NOT_FOUND' },
    })
  })

  test('refuse what is no token of the room, no direction and no number', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const other = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const foreign = await front.get(
      `/rooms/${encodeURIComponent(other.roomId)}/messages?dir=b&limit=1`,
      alice,
    )
    for (const query of [
      'from=nonsense',
      `from=${String(foreign.body['end'])}`,
      'to=%00',
      'dir=x',
      'limit=-1',
      'limit=0',
      'recurse=perhaps',
    ])
      expect(await front.get(relationsPath(room, eventId, `?${query}`), alice)).toMatchObject({
        status: 400,
      })
    expect(await front.get(relationsPath(room, '$nothing'), alice)).toMatchObject({ status: 404 })
  })

  test('may name what nobody has, and be badly formed', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    for (const relation of [
      7,
      null,
      [],
      { rel_type: 'm.thread' },
      { rel_type: 'm.thread', event_id: 5 },
      { rel_type: 'm.\0', event_id: eventId },
      { rel_type: 'm.annotation', event_id: eventId, key: 'a\0b' },
      { rel_type: 'm.thread', event_id: `$${'x'.repeat(43)}` },
      { rel_type: '\ud800', event_id: '\udfff' },
    ])
      await room.tell(alice, 'm.room.message', {
        body: '\0\ud800',
        'm.relates_to': relation,
      } as never)
    expect((await related(alice, room, eventId)).ids).toHaveLength(1)
    expect((await threads(alice, room)).events).toEqual([])
  })
})

describe('what is told with an event of those that relate to it', () => {
  test('is its latest valid replacement', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { eventId } = await room.send(alice, 'one')
    expect(await bundleOf(alice, room, eventId)).toBeUndefined()
    await edit(room, alice, eventId, 'two')
    const three = await edit(room, alice, eventId, 'three')
    await edit(room, bob, eventId, 'forged')
    await relate(room, alice, 'm.replace', eventId, { body: 'without new content' })
    await relate(room, alice, 'm.replace', eventId, { 'm.new_content': {} }, 'm.sticker')
    expect(await bundleOf(bob, room, eventId)).toMatchObject({
      'm.replace': { event_id: three.eventId, content: { 'm.new_content': { body: 'three' } } },
    })
    // What replaces has no replacement itself.
    await edit(room, alice, three.eventId, 'of an edit')
    expect(await bundleOf(bob, room, three.eventId)).toBeUndefined()
    await room.redact(alice, three.eventId)
    expect(await bundleOf(bob, room, eventId)).toMatchObject({
      'm.replace': { content: { 'm.new_content': { body: 'two' } } },
    })
    await room.redact(alice, eventId)
    expect(await bundleOf(bob, room, eventId)).toBeUndefined()
  })

  test('is its thread, with the latest reply in full, its count and whether one took part', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), someone('carol')]
    const room = await story.room(alice)
    for (const user of [bob, carol]) await room.member(user, 'join')
    const { eventId } = await room.send(alice, 'root')
    await relate(room, bob, 'm.thread', eventId)
    const last = await relate(room, bob, 'm.thread', eventId, { body: 'last' })
    await edit(room, bob, last.eventId, 'edited')
    for (const [user, took] of [
      [alice, true],
      [bob, true],
      [carol, false],
    ] as const)
      expect(await bundleOf(user, room, eventId)).toMatchObject({
        'm.thread': {
          count: 2,
          current_user_participated: took,
          latest_event: {
            event_id: last.eventId,
            unsigned: { 'm.relations': { 'm.replace': { content: { body: 'edited' } } } },
          },
        },
      })
  })

  test('is who refers to it, but no annotations, and nothing at all of a state event', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const refers = await relate(room, alice, 'm.reference', eventId)
    await relate(room, alice, 'm.annotation', eventId, {}, 'm.reaction')
    expect(await bundleOf(alice, room, eventId)).toEqual({
      'm.reference': { chunk: [{ event_id: refers.eventId }] },
    })
    const topic = await room.state(alice, 'm.room.topic', '', { topic: 'tea' })
    await relate(room, alice, 'm.reference', topic.eventId)
    expect(await bundleOf(alice, room, topic.eventId)).toBeUndefined()
  })

  test('comes with pages, contexts and relations too', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'one')
    const reply = await relate(room, alice, 'm.thread', eventId)
    await edit(room, alice, reply.eventId, 'two')
    const at = `/rooms/${encodeURIComponent(room.roomId)}`
    const find = (list: unknown, id: string) =>
      (list as Event[]).find((event) => event.event_id === id)?.unsigned['m.relations']
    const page = await front.get(`${at}/messages?dir=b`, alice)
    expect(find(page.body['chunk'], eventId)).toMatchObject({ 'm.thread': { count: 1 } })
    expect(find(page.body['chunk'], reply.eventId)).toMatchObject({ 'm.replace': {} })
    const context = await front.get(`${at}/context/${encodeURIComponent(reply.eventId)}`, alice)
    expect(find([context.body['event']], reply.eventId)).toMatchObject({ 'm.replace': {} })
    expect(find(context.body['events_before'], eventId)).toMatchObject({ 'm.thread': {} })
    const { body } = await related(alice, room, eventId)
    expect(find(body['chunk'], reply.eventId)).toMatchObject({ 'm.replace': {} })
  })
})

describe('a sync', () => {
  test('tells what relates to events only where it leaves some out', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    for (let each = 0; each < 12; each++) await room.send(alice, 'before')
    const { next_batch: since } = await story.sync(alice)
    const { eventId } = await room.send(alice, 'one')
    await edit(room, alice, eventId, 'two')
    const told = (answer: Awaited<ReturnType<typeof story.sync>>) =>
      (
        answer as unknown as {
          rooms: { join: Record<string, { timeline: { events: Event[] } }> }
        }
      ).rooms.join[room.roomId]!.timeline.events.find((event) => event.event_id === eventId)!
        .unsigned['m.relations']
    expect(told(await story.sync(alice))).toMatchObject({ 'm.replace': {} })
    expect(told(await story.sync(alice, { since }))).toBeUndefined()
  })
})

describe('the threads of a room', () => {
  test('are listed by their latest replies, a page at a time', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const roots: string[] = []
    for (const name of ['a', 'b', 'c']) roots.push((await room.send(alice, name)).eventId)
    const [a, b, c] = roots as [string, string, string]
    for (const root of [a, c, b]) await relate(room, alice, 'm.thread', root)
    await relate(room, bob, 'm.thread', a)
    const ids = (events: readonly Event[]) => events.map((event) => event.event_id)
    const all = await threads(alice, room)
    expect(ids(all.events)).toEqual([a, b, c])
    expect(all.events[0]!.unsigned['m.relations']).toMatchObject({ 'm.thread': { count: 2 } })
    const first = await threads(alice, room, '?limit=2')
    expect(ids(first.events)).toEqual([a, b])
    const second = await threads(alice, room, `?limit=2&from=${first.next}`)
    expect(ids(second.events)).toEqual([c])
    expect(second.next).toBeUndefined()
    expect(ids((await threads(bob, room, '?include=participated')).events)).toEqual([a])
    expect(ids((await threads(alice, room, '?include=participated')).events)).toEqual([a, b, c])
  })

  test('begin at no event that is in a thread itself, and hide what ignored users said', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { eventId } = await room.send(bob, 'root')
    const reply = await relate(room, alice, 'm.thread', eventId)
    await relate(room, alice, 'm.thread', reply.eventId)
    await story.accountData(alice, '', 'm.ignored_user_list', { ignored_users: { [bob]: {} } })
    const { events } = await threads(alice, room)
    expect(events).toMatchObject([{ event_id: eventId, content: {} }])
    expect(events[0]!.content).toEqual({})
  })

  test('are for those who may read the room', async () => {
    const [alice, eve] = [someone('alice'), someone('eve')]
    const room = await story.room(alice)
    const path = `/_matrix/client/v1/rooms/${encodeURIComponent(room.roomId)}/threads`
    expect(await front.get(path, eve)).toMatchObject({ status: 403 })
    for (const query of ['from=nonsense', 'include=some', 'limit=0'])
      expect(await front.get(`${path}?${query}`, alice)).toMatchObject({ status: 400 })
  })
})
