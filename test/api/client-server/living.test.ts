import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { SyncAnswer } from '#test/engine/read/story.ts'
import { Living } from './living.ts'

const db = await testDatabase()
let home: Living
beforeAll(async () => {
  home = await Living.open(db.pool)
})
afterAll(() => home.close())

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`
const path = (roomId: string, rest: string) => `/rooms/${encodeURIComponent(roomId)}/${rest}`

async function makeRoom(creator: string, wish: object = {}): Promise<string> {
  const { status, body } = await home.post('/createRoom', creator, wish)
  expect({ status, body }).toMatchObject({ status: 200 })
  return body['room_id'] as string
}

const syncOf = async (user: string, query = ''): Promise<SyncAnswer> => {
  const { status, body } = await home.get(`/sync${query}`, user)
  expect({ status, body }).toMatchObject({ status: 200 })
  return body as unknown as SyncAnswer
}

describe.each(['1', '6', '10', '11', '12'])('a room of version %s', (version) => {
  test('is made, written to and read', async () => {
    const alice = someone('alice')
    const roomId = await makeRoom(alice, {
      room_version: version,
      name: 'Den',
      topic: 'Tea',
      preset: 'public_chat',
    })
    const first = await syncOf(alice)
    const room = first.rooms!.join![roomId]!
    const all = [...room.state!.events, ...room.timeline.events].map((event) => event.type)
    for (const type of ['create', 'member', 'power_levels', 'join_rules', 'name', 'topic'])
      expect(all).toContain(`m.room.${type}`)
    expect(room.summary['m.joined_member_count']).toBe(1)

    const send = path(roomId, 'send/m.room.message/t1')
    const sent = await home.put(send, alice, { msgtype: 'm.text', body: 'hello' })
    expect(await home.put(send, alice, { msgtype: 'm.text', body: 'again' })).toEqual(sent)
    const eventId = sent.body['event_id'] as string
    const next = await syncOf(alice, `?since=${first.next_batch}`)
    expect(next.rooms!.join![roomId]!.timeline.events).toMatchObject([
      { event_id: eventId, content: { body: 'hello' }, unsigned: { transaction_id: 't1' } },
    ])

    const redaction = await home.put(path(roomId, `redact/${eventId}/t2`), alice, { reason: 'x' })
    expect(redaction.status).toBe(200)
    const { body: event } = await home.get(path(roomId, `event/${eventId}`), alice)
    expect(event).toMatchObject({
      content: {},
      unsigned: { redacted_because: { event_id: redaction.body['event_id'], redacts: eventId } },
    })
    const topic = await home.put(path(roomId, 'state/m.room.topic/'), alice, { topic: 'Milk' })
    const last = await syncOf(alice, `?since=${next.next_batch}&use_state_after=true`)
    const told = last.rooms!.join![roomId]!
    expect(told.timeline.events).toMatchObject([
      { type: 'm.room.redaction', redacts: eventId, content: { redacts: eventId } },
      { type: 'm.room.topic', unsigned: { prev_content: { topic: 'Tea' } } },
    ])
    expect(told.state_after!.events).toMatchObject([{ event_id: topic.body['event_id'] }])
    // The name that the key had before, by which clients still ask.
    const unstable = 'org.matrix.msc4222'
    const same = await syncOf(alice, `?since=${next.next_batch}&${unstable}.use_state_after=true`)
    expect(same.rooms!.join![roomId]).toHaveProperty(
      [`${unstable}.state_after`, 'events', 0, 'event_id'],
      topic.body['event_id'],
    )

    const page = await home.get(path(roomId, 'messages?dir=f&limit=100'), alice)
    const chunk = page.body['chunk'] as { type: string; event_id: string }[]
    expect(chunk[0]!.type).toBe('m.room.create')
    expect(chunk.map((each) => each.event_id).slice(-3)).toEqual([
      eventId,
      redaction.body['event_id'] as string,
      topic.body['event_id'] as string,
    ])
  })
})

test('a transaction ID is for one call of one device', async () => {
  const [alice, bob] = [someone('alice'), someone('bob')]
  const [roomId, other] = [await makeRoom(alice), await makeRoom(alice)]
  const send = async (rest: string, content: object = {}, room = roomId, by = alice) => {
    const { status, body } = await home.put(path(room, rest), by, content)
    expect({ status, body }).toMatchObject({ status: 200 })
    return body['event_id'] as string
  }
  const first = await send('send/m.room.message/1', { body: 'one' })
  // Whatever the body: it is the same call again.
  expect(await send('send/m.room.message/1', { body: 'two' })).toBe(first)
  await home.post(path(roomId, 'invite'), alice, { user_id: bob })
  await home.post(path(roomId, 'join'), bob)
  const others = [
    await send('send/m.room.message/2'),
    await send('send/org.example/1'),
    await send(`redact/${first}/1`),
    await send('send/m.room.message/1', {}, other),
    await send('send/m.room.message/1', {}, roomId, bob),
  ]
  expect(new Set([first, ...others]).size).toBe(6)
  expect(await send(`redact/${first}/1`)).toBe(others[2]!)
  expect(await send('send/m.room.message/1', {}, roomId, bob)).toBe(others[4]!)
})

test('many write, one follows, and nobody misses or doubles anything', async () => {
  const people = Array.from({ length: 4 }, () => someone('person'))
  const roomIds = await Promise.all(people.map((creator) => makeRoom(creator)))
  const follower = someone('follower')
  const quiet = await makeRoom(follower)
  let { next_batch: since } = await syncOf(follower)
  const sent: string[] = []
  let writing = true
  const writers = people.map(async (person, at) => {
    for (let each = 0; each < 20; each++) {
      const send = path(roomIds[at]!, `send/m.room.message/${each}`)
      await home.put(send, person, { body: `${each}` })
    }
  })
  const own = (async () => {
    for (let each = 0; each < 40; each++) {
      const { body } = await home.put(path(quiet, `send/m.room.message/${each}`), follower, {})
      sent.push(body['event_id'] as string)
    }
  })()
  const done = Promise.all([...writers, own]).finally(() => (writing = false))
  const found: string[] = []
  const filter = encodeURIComponent('{"room":{"timeline":{"limit":100}}}')
  for (;;) {
    const last = !writing
    const answer = await syncOf(
      follower,
      `?since=${since}&filter=${filter}&timeout=${last ? 0 : 30}`,
    )
    since = answer.next_batch
    const room = answer.rooms?.join?.[quiet]
    found.push(...(room?.timeline.events ?? []).map((event) => event.event_id))
    if (last && !room) break
  }
  await done
  expect(found).toEqual(sent)
})
