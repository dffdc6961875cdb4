import { afterAll, beforeAll, expect, test } from 'bun:test'
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

const alice = '@alice:here.example'
const bob = '@bob:here.example'
const enc = encodeURIComponent
const query = (filter: object) => `filter=${enc(JSON.stringify(filter))}`

const relate = (room: StoryRoom, sender: string, relType: string, eventId: string) =>
  room.tell(sender, 'm.room.message', {
    body: 'related',
    'm.relates_to': { rel_type: relType, event_id: eventId },
  })

/** Some messages, of which others say that they are a thread, were edited, or nothing. */
async function talk() {
  const room = await story.room(alice)
  await room.member(bob, 'join')
  const said: string[] = []
  for (let n = 0; n < 6; n++) said.push((await room.send(alice, `findable ${n}`)).eventId)
  await relate(room, bob, 'm.thread', said[0]!)
  await relate(room, alice, 'm.thread', said[2]!)
  await relate(room, bob, 'm.replace', said[3]!)
  await relate(room, bob, 'm.reference', said[4]!)
  return { room, said }
}

const filters: [object, readonly number[]][] = [
  [{ related_by_rel_types: ['m.thread'] }, [0, 2]],
  [{ related_by_senders: [bob] }, [0, 3, 4]],
  // One relation has to fit both.
  [{ related_by_rel_types: ['m.thread'], related_by_senders: [bob] }, [0]],
  [{ related_by_rel_types: ['m.replace', 'm.reference'] }, [3, 4]],
  [{ related_by_rel_types: ['m.thread'], related_by_senders: ['@none:here.example'] }, []],
  [{ related_by_rel_types: [] }, []],
  [{ related_by_rel_types: ['\0'] }, []],
]

type Events = { event_id: string }[]
const ids = (events: unknown) => (events as Events).map((event) => event.event_id)

test.each(filters)(
  '%j: the messages to which something so relates are told',
  async (filter, which) => {
    const { room, said } = await talk()
    const wanted = which.map((index) => said[index]!)
    const path = `/rooms/${enc(room.roomId)}`
    const { body: page } = await front.get(`${path}/messages?dir=f&${query(filter)}`, alice)
    expect(ids(page['chunk'])).toEqual(wanted)

    const around = await front.get(`${path}/context/${said[1]}?limit=100&${query(filter)}`, alice)
    const { events_before: before, events_after: after } = around.body as Record<string, unknown>
    expect([...ids(before).reverse(), ...ids(after)]).toEqual(wanted)

    const timeline = { room: { rooms: [room.roomId], timeline: filter } }
    const synced = await front.get(`/sync?${query(timeline)}`, alice)
    const { join } = synced.body['rooms'] as {
      join: Record<string, { timeline: { events: Events } }>
    }
    expect(ids(join[room.roomId]?.timeline.events ?? [])).toEqual(wanted)

    const criteria = { search_term: 'findable', filter: { ...filter, rooms: [room.roomId] } }
    const found = await front.post('/search', alice, {
      search_categories: { room_events: criteria },
    })
    const categories = found.body['search_categories'] as Record<string, { results: unknown }>
    const results = categories['room_events']!.results as { result: { event_id: string } }[]
    expect(ids(results.map(({ result }) => result)).sort()).toEqual(wanted.toSorted())
  },
)

test('pages end where their last event stands, whatever was looked at beyond', async () => {
  const room = await story.room(alice)
  const said: string[] = []
  for (let n = 0; n < 12; n++) {
    said.push((await room.send(alice, `root ${n}`)).eventId)
    await room.send(alice, 'between')
  }
  for (const id of said) await relate(room, alice, 'm.thread', id)
  const filter = { related_by_rel_types: ['m.thread'] }
  for (const dir of ['f', 'b']) {
    const pages: string[][] = []
    for (let from = ''; ;) {
      const path = `/rooms/${enc(room.roomId)}/messages?dir=${dir}&limit=5&${query(filter)}${from}`
      const { body } = await front.get(path, alice)
      const told = ids(body['chunk'])
      if (told.length > 0) pages.push(told)
      if (body['end'] === undefined || told.length === 0) break
      from = `&from=${body['end'] as string}`
    }
    expect(pages.map((page) => page.length)).toEqual([5, 5, 2])
    expect(pages.flat()).toEqual(dir === 'f' ? said : said.toReversed())
  }
})

test('state is filtered too, and what came after a reader left counts for nothing', async () => {
  const room = await story.room(alice)
  await room.member(bob, 'join')
  const topic = await room.state(alice, 'm.room.topic', '', { topic: 'x' })
  const root = await room.send(alice, 'root')
  for (let n = 0; n < 3; n++) await relate(room, alice, 'm.reference', topic.eventId)
  const filter = { related_by_rel_types: ['m.reference'] }
  const whole = { room: { rooms: [room.roomId], state: filter, timeline: { limit: 1 } } }
  const synced = await front.get(`/sync?${query(whole)}`, alice)
  const { join } = synced.body['rooms'] as { join: Record<string, { state: { events: Events } }> }
  expect(ids(join[room.roomId]!.state.events)).toEqual([topic.eventId])

  await room.member(bob, 'leave')
  await relate(room, alice, 'm.thread', root.eventId)
  const threads = query({ related_by_rel_types: ['m.thread'] })
  const pageOf = async (user: string) => {
    const { body } = await front.get(`/rooms/${enc(room.roomId)}/messages?dir=b&${threads}`, user)
    return ids(body['chunk'])
  }
  expect([await pageOf(alice), await pageOf(bob)]).toEqual([[root.eventId], []])
})

test('what is no such list is refused', async () => {
  const room = await story.room(alice)
  for (const filter of [
    { related_by_rel_types: 'm.thread' },
    { related_by_rel_types: [1] },
    { related_by_senders: ['alice'] },
    { related_by_senders: {} },
  ]) {
    const path = `/rooms/${enc(room.roomId)}/messages?dir=b&${query(filter)}`
    expect((await front.get(path, alice)).status).toBe(400)
  }
})
