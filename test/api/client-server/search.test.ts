import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
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

type Event = { event_id: string }
type Found = {
  count: number
  highlights: string[]
  next_batch?: string
  groups?: object
  state?: Record<string, object[]>
  results: {
    rank: number
    result: Event
    context?: { events_before: Event[]; events_after: Event[]; profile_info?: object }
  }[]
}

const ask = (user: string, criteria: object, query = '') =>
  front.post(`/search${query}`, user, { search_categories: { room_events: criteria } })

async function find(user: string, term: string, more: object = {}, query = '') {
  const { status, body } = await ask(
    user,
    { search_term: term, order_by: 'recent', ...more },
    query,
  )
  expect({ status, body }).toMatchObject({ status: 200 })
  const found = (body['search_categories'] as { room_events: Found }).room_events
  return { ...found, ids: found.results.map(({ result }) => result.event_id) }
}

describe('a search', () => {
  test('finds all words, in any case, in messages, names and topics', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const message = await room.send(alice, 'Red Apples and pears')
    const name = await room.state(alice, 'm.room.name', '', { name: 'Apples' })
    const topic = await room.state(alice, 'm.room.topic', '', { topic: 'of apples' })
    await room.send(alice, 'plums')
    await room.tell(alice, 'other.type', { body: 'apples' })
    const all = await find(alice, 'APPLES')
    expect(all.ids).toEqual([topic.eventId, name.eventId, message.eventId])
    expect(all).toMatchObject({ count: 3, highlights: ['apples'] })
    expect((await find(alice, 'pears red')).ids).toEqual([message.eventId])
    expect((await find(alice, 'red plums')).ids).toEqual([])
    const keys = async (...list: string[]) => (await find(alice, 'apples', { keys: list })).ids
    expect(await keys('content.name')).toEqual([name.eventId])
    expect(await keys('content.body', 'content.topic')).toEqual([topic.eventId, message.eventId])
  })

  test('puts what fits best first unless told otherwise, and goes on page by page', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const often = await room.send(alice, 'kiwi kiwi kiwi')
    const ids = [often.eventId]
    for (let each = 0; each < 4; each++) ids.push((await room.send(alice, 'kiwi')).eventId)
    const ranked = await find(alice, 'kiwi', { order_by: 'rank' })
    expect(ranked.ids[0]).toBe(often.eventId)
    for (const order of ['rank', 'recent']) {
      const seen: string[] = []
      let query = ''
      for (let page = 0; page < 3; page++) {
        const found = await find(alice, 'kiwi', { order_by: order, filter: { limit: 2 } }, query)
        seen.push(...found.ids)
        query = `?next_batch=${found.next_batch}`
        expect(found.next_batch === undefined).toBe(page === 2)
      }
      expect(seen.toSorted()).toEqual(ids.toSorted())
      // A page that is full may have been the last.
      const { next_batch: end } = await find(alice, 'kiwi', {
        order_by: order,
        filter: { limit: 5 },
      })
      const beyond = await find(alice, 'kiwi', { order_by: order }, `?next_batch=${end}`)
      expect([beyond.ids, beyond.next_batch, beyond.count]).toEqual([[], undefined, 5])
    }
  })

  test('shows nobody what they may not see', async () => {
    const [alice, bob, eve] = [someone('alice'), someone('bob'), someone('eve')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const before = await room.send(alice, 'mango before')
    const left = await room.member(bob, 'leave')
    const after = await room.send(alice, 'mango after')
    expect((await find(alice, 'mango')).ids).toEqual([after.eventId, before.eventId])
    expect(await find(bob, 'mango')).toMatchObject({ ids: [before.eventId], count: 1 })
    expect(await find(eve, 'mango')).toMatchObject({ ids: [], count: 0 })
    await story.forget(bob, room.roomId, left.eventId)
    expect((await find(bob, 'mango')).ids).toEqual([])
  })

  test('finds nothing redacted, encrypted, or said by whom one ignores (CVE-2024-6300)', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const mine = await room.send(alice, 'grape')
    const his = await room.send(bob, 'grape')
    expect((await find(alice, 'grape')).ids).toEqual([his.eventId, mine.eventId])
    await room.redact(alice, mine.eventId)
    expect((await find(alice, 'grape')).ids).toEqual([his.eventId])
    await story.accountData(alice, '', 'm.ignored_user_list', { ignored_users: { [bob]: {} } })
    expect((await find(alice, 'grape')).ids).toEqual([])
    expect((await find(bob, 'grape')).ids).toEqual([his.eventId])
    await room.state(alice, 'm.room.encryption', '', { algorithm: 'm.megolm.v1.aes-sha2' })
    expect((await find(bob, 'grape')).ids).toEqual([])
  })

  test('is filtered, grouped, and shown with what is around it', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const [one, two] = [await story.room(alice), await story.room(alice)]
    await one.member(bob, 'join', { content: { displayname: 'Bob' } })
    const long = await one.send(alice, 'long before')
    const before = await one.send(alice, 'before')
    const first = await one.send(bob, 'lemon')
    const after = await one.send(alice, 'after')
    const second = await two.send(alice, 'lemon')
    const filtered = async (filter: object) => (await find(alice, 'lemon', { filter })).ids
    expect(await filtered({ rooms: [one.roomId] })).toEqual([first.eventId])
    expect(await filtered({ not_rooms: [one.roomId] })).toEqual([second.eventId])
    expect(await filtered({ senders: [bob] })).toEqual([first.eventId])
    expect(await filtered({ not_senders: [bob] })).toEqual([second.eventId])
    expect(await filtered({ types: ['m.room.topic'] })).toEqual([])
    expect(await filtered({ contains_url: true })).toEqual([])
    const grouped = await find(alice, 'lemon', {
      groupings: { group_by: [{ key: 'room_id' }, { key: 'sender' }] },
      event_context: { before_limit: 2, after_limit: 1, include_profile: true },
      include_state: true,
    })
    expect(grouped.groups).toEqual({
      room_id: {
        [two.roomId]: { order: 1, results: [second.eventId] },
        [one.roomId]: { order: 2, results: [first.eventId] },
      },
      sender: {
        [alice]: { order: 1, results: [second.eventId] },
        [bob]: { order: 2, results: [first.eventId] },
      },
    })
    expect(grouped.results[1]!.context).toMatchObject({
      events_before: [{ event_id: before.eventId }, { event_id: long.eventId }],
      events_after: [{ event_id: after.eventId }],
      profile_info: { [bob]: { displayname: 'Bob' } },
    })
    expect(Object.keys(grouped.state!).toSorted()).toEqual([one.roomId, two.roomId].toSorted())
  })

  test('takes any text for words, and refuses what is none', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const sent = await room.send(alice, `it's \0 '!5' | (fig) & \ud800`)
    for (const term of [
      '',
      ' ',
      '\0',
      "'",
      '!',
      '& | !',
      "'!5' | '!6",
      ':*',
      '<->',
      '\\',
      '\ud800',
    ])
      expect((await ask(alice, { search_term: term })).status).toBe(200)
    expect((await find(alice, '(fig')).ids).toEqual([sent.eventId])
    // A room is found by nobody's words.
    expect((await find(alice, `!${room.roomNid}`)).ids).toEqual([])
    for (const criteria of [
      {},
      { search_term: 5 },
      { search_term: null },
      { search_term: 'x'.repeat(1_001) },
      { search_term: 'a', keys: ['content.secret'] },
      { search_term: 'a', order_by: 'size' },
      { search_term: 'a', filter: { rooms: 'all' } },
      { search_term: 'a', filter: 3 },
      { search_term: 'a', event_context: { before_limit: -1 } },
    ])
      expect((await ask(alice, criteria)).status).toBe(400)
    for (const token of ['x', 'bnVsbA', Buffer.from('[0,"a",1]').toString('base64url')])
      expect((await ask(alice, { search_term: 'a' }, `?next_batch=${token}`)).status).toBe(400)
    expect(await front.post('/search', alice, { search_categories: {} })).toMatchObject({
      status: 200,
    })
    expect((await front.post('/search', alice, {})).status).toBe(400)
  })
})
