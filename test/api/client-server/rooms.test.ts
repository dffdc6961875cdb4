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
const path = (room: { roomId: string }, rest: string) =>
  `/rooms/${encodeURIComponent(room.roomId)}/${rest}`
const forbidden = { status: 403, body: { errcode: 'M_FORBIDDEN' } }
const unknown = { status: 404, body: { errcode: 'M_NOT_FOUND' } }

describe('reading a room', () => {
  test('its state is for members, as content or as event', async () => {
    const [alice, eve] = [someone('alice'), someone('eve')]
    const room = await story.room(alice)
    const topic = await room.state(alice, 'm.room.topic', '', { topic: 'tea' })
    for (const rest of ['state/m.room.topic', 'state/m.room.topic/'])
      expect(await front.get(path(room, rest), alice)).toEqual({
        status: 200,
        body: { topic: 'tea' },
      })
    const event = await front.get(path(room, 'state/m.room.topic?format=event'), alice)
    expect(event.body).toMatchObject({ event_id: topic.eventId, room_id: room.roomId })
    const all = await front.get(path(room, 'state'), alice)
    expect(all.body as unknown).toHaveLength(4)
    expect(await front.get(path(room, 'state/m.room.name'), alice)).toMatchObject(unknown)
    for (const rest of [
      'state',
      'state/m.room.topic',
      'members',
      'joined_members',
      'messages?dir=b',
    ])
      expect(await front.get(path(room, rest), eve)).toMatchObject(forbidden)
    expect(await front.get(path({ roomId: '!none:here.example' }, 'state'), eve)).toMatchObject(
      forbidden,
    )
  })

  test('who left reads the state as they left it, and nothing once they forgot the room', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.state(alice, 'm.room.topic', '', { topic: 'then' })
    await room.member(bob, 'join')
    await room.member(bob, 'leave')
    await room.state(alice, 'm.room.topic', '', { topic: 'later' })
    await room.member(someone('carol'), 'join')
    const topic = await front.get(path(room, 'state/m.room.topic'), bob)
    expect(topic.body).toEqual({ topic: 'then' })
    const members = await front.get(path(room, 'members'), bob)
    expect(members.body['chunk']).toHaveLength(2)
    expect(await front.get(path(room, 'joined_members'), bob)).toMatchObject(forbidden)
    expect((await front.post(path(room, 'forget'), bob)).status).toBe(200)
    expect(await front.get(path(room, 'state/m.room.topic'), bob)).toMatchObject(forbidden)
    expect(await front.get(path(room, 'messages?dir=b'), bob)).toMatchObject(forbidden)
    // Again, or never in it: nothing to do.
    expect((await front.post(path(room, 'forget'), bob)).status).toBe(200)
  })

  test('anyone reads what is world readable', async () => {
    const [alice, eve] = [someone('alice'), someone('eve')]
    const room = await story.room(alice, { visibility: 'world_readable' })
    const sent = await room.send(alice, 'hello')
    expect((await front.get(path(room, 'state'), eve)).status).toBe(200)
    const { body } = await front.get(path(room, 'messages?dir=b&limit=1'), eve)
    expect(body['chunk']).toMatchObject([
      { event_id: sent.eventId, room_id: room.roomId, unsigned: { membership: 'leave' } },
    ])
  })

  test('members come by membership, and as they were at a token', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const { next_batch: before, rooms } = await story.sync(alice)
    const start = rooms!.join![room.roomId]!.timeline.prev_batch
    await room.member(bob, 'join', { content: { displayname: 'Bob' } })
    const ids = async (query: string) => {
      const { body } = await front.get(path(room, `members${query}`), alice)
      return (body['chunk'] as { state_key: string }[]).map((event) => event.state_key).sort()
    }
    expect(await ids('')).toEqual([alice, bob].sort())
    expect(await ids(`?at=${before}`)).toEqual([alice])
    // Nothing is before this one: it stands for the sync that it came with.
    expect(await ids(`?at=${start}`)).toEqual([alice])
    await room.member(bob, 'leave')
    expect(await ids('?membership=join')).toEqual([alice])
    expect(await ids('?not_membership=join')).toEqual([bob])
    expect((await front.get(path(room, 'members?membership=odd'), alice)).body['errcode']).toBe(
      'M_INVALID_PARAM',
    )
    const { body } = await front.get(path(room, 'joined_members'), alice)
    expect(body).toEqual({ joined: { [alice]: {} } })
  })

  test('an event is found by those who may see it', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice, { visibility: 'joined' })
    const secret = await room.send(alice, 'secret')
    await room.member(bob, 'join')
    const open = await room.send(alice, 'open')
    const failed = await room.send(alice, 'failed', { softFailed: true })
    const get = (eventId: string, user: string) => front.get(path(room, `event/${eventId}`), user)
    expect((await get(secret.eventId, alice)).body).toMatchObject({ content: { body: 'secret' } })
    expect((await get(open.eventId, bob)).status).toBe(200)
    // Soft-failed events are served here.
    expect((await get(failed.eventId, bob)).status).toBe(200)
    expect(await get(secret.eventId, bob)).toMatchObject(unknown)
    expect(await get(open.eventId, someone('eve'))).toMatchObject(unknown)
    expect(await get('$none', alice)).toMatchObject(unknown)
    const other = await story.room(alice)
    expect(await front.get(path(other, `event/${open.eventId}`), alice)).toMatchObject(unknown)
  })

  test('an event has those around it, and tokens that go on', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const told = []
    for (let each = 0; each < 7; each++) told.push(await room.send(alice, `${each}`))
    const { body } = await front.get(path(room, `context/${told[3]!.eventId}?limit=4`), alice)
    const ids = (key: string) =>
      (body[key] as { event_id: string }[]).map((event) => event.event_id)
    expect(body['event']).toMatchObject({ event_id: told[3]!.eventId })
    expect(ids('events_before')).toEqual([told[2]!.eventId, told[1]!.eventId])
    expect(ids('events_after')).toEqual([told[4]!.eventId, told[5]!.eventId])
    expect(body['state']).toHaveLength(3)
    const back = await story.messages(alice, room, { from: body['start'] as string, limit: 1 })
    expect(back.ids).toEqual([told[0]!.eventId])
    const on = await story.messages(alice, room, { from: body['end'] as string, dir: 'f' })
    expect(on.ids).toEqual([told[6]!.eventId])
    const lone = await front.get(path(room, `context/${told[3]!.eventId}?limit=0`), alice)
    expect(lone.body).toMatchObject({ events_before: [], events_after: [] })
  })

  test('a filter chooses what stands around an event, and whose membership comes with it', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const before = await room.send(bob, 'before')
    await room.send(alice, 'mine')
    const topic = await room.state(alice, 'm.room.topic', '', { topic: 'tea' })
    const after = await room.send(bob, 'after')
    await room.tell(bob, 'm.reaction', {})
    const context = async (filter: object) => {
      const query = `limit=20&filter=${encodeURIComponent(JSON.stringify(filter))}`
      const { body } = await front.get(path(room, `context/${topic.eventId}?${query}`), alice)
      const ids = (key: string) =>
        (body[key] as { event_id: string }[]).map((event) => event.event_id)
      const members = (body['state'] as { type: string; state_key: string }[]).filter(
        ({ type }) => type === 'm.room.member',
      )
      return {
        event: (body['event'] as { event_id: string }).event_id,
        around: [...ids('events_before'), ...ids('events_after')],
        members: members.map((each) => each.state_key).sort(),
      }
    }
    const told = { event: topic.eventId, members: [alice, bob].sort() }
    expect(await context({ senders: [bob], types: ['m.room.message'] })).toEqual({
      ...told,
      around: [before.eventId, after.eventId],
    })
    // The event that was asked for is there whatever the filter says.
    expect(await context({ types: [] })).toEqual({ ...told, around: [] })
    const alone = { types: [], lazy_load_members: true }
    expect(await context(alone)).toEqual({ ...told, around: [], members: [alice] })
    for (const bad of ['[', '3', '{"types":3}', '{"senders":["no user"]}']) {
      const uri = `context/${topic.eventId}?filter=${encodeURIComponent(bad)}`
      expect(await front.get(path(room, uri), alice)).toMatchObject({
        status: 400,
        body: { errcode: 'M_INVALID_PARAM' },
      })
    }
  })

  test('a filter chooses what messages a page has, and its limit counts where the query has none', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const told = []
    for (let each = 0; each < 3; each++) {
      told.push(await room.send(bob, `${each}`))
      await room.tell(bob, 'm.reaction', {})
      await room.send(alice, 'mine')
    }
    const page = async (filter: object, query = '') => {
      const text = encodeURIComponent(JSON.stringify(filter))
      const { body } = await front.get(path(room, `messages?dir=b&filter=${text}${query}`), alice)
      return (body['chunk'] as { event_id: string }[]).map((event) => event.event_id)
    }
    const ids = told.map(({ eventId }) => eventId).toReversed()
    const his = { senders: [bob], types: ['m.room.mess*'] }
    expect(await page(his)).toEqual(ids)
    expect(await page({ ...his, limit: 2 })).toEqual(ids.slice(0, 2))
    expect(await page({ ...his, limit: 2 }, '&limit=1')).toEqual(ids.slice(0, 1))
    expect(await page({ not_types: ['m.room.*', 'm.reaction'] })).toEqual([])
  })

  test('a page of messages brings the members who speak in it, if asked', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.send(bob, 'hello')
    const filter = encodeURIComponent('{"lazy_load_members":true}')
    const { body } = await front.get(path(room, `messages?dir=b&limit=1&filter=${filter}`), alice)
    expect(body['state']).toMatchObject([{ type: 'm.room.member', state_key: bob }])
    for (const query of [
      '',
      '?dir=x',
      '?dir=b&from=nonsense',
      '?dir=b&limit=-1',
      '?dir=b&filter=[',
    ])
      expect((await front.get(path(room, `messages${query}`), alice)).status).toBe(400)
  })

  test.each(['3', '11', '12'])(
    'a redaction of what is not here is shown to nobody in version %s',
    async (version) => {
      const alice = someone('alice')
      const room = await story.room(alice, { version })
      const { next_batch: since } = await story.sync(alice)
      const redacts = `$${'A'.repeat(43)}`
      const redaction = await room.tell(alice, 'm.room.redaction', { redacts })
      const said = await room.send(alice, 'hello')
      const ids = (events: unknown) =>
        (events as { event_id: string }[]).map((event) => event.event_id)
      const { timeline } = (await story.sync(alice, { since })).rooms!.join![room.roomId]!
      expect(ids(timeline.events)).toEqual([said.eventId])
      const page = await front.get(path(room, 'messages?dir=b'), alice)
      expect(ids(page.body['chunk'])).not.toContain(redaction.eventId)
      // The IDs of version 3 may hold slashes.
      const around = `context/${encodeURIComponent(said.eventId)}`
      const context = await front.get(path(room, around), alice)
      expect(ids(context.body['events_before'])).not.toContain(redaction.eventId)
      const event = `event/${encodeURIComponent(redaction.eventId)}`
      expect((await front.get(path(room, event), alice)).status).toBe(404)
    },
  )

  test('joined rooms are listed', async () => {
    const alice = someone('alice')
    const [one, two] = [await story.room(alice), await story.room(alice)]
    await two.member(alice, 'leave')
    const { body } = await front.get('/joined_rooms', alice)
    expect(body).toEqual({ joined_rooms: [one.roomId] })
  })
})

describe('/sync over HTTP', () => {
  test('takes a filter by its ID or inline, and refuses others', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    await room.send(alice, 'hello')
    const filter = { room: { timeline: { limit: 1 } } }
    const made = await front.post(`/user/${encodeURIComponent(alice)}/filter`, alice, filter)
    const inline = encodeURIComponent(JSON.stringify(filter))
    for (const text of [made.body['filter_id'] as string, inline]) {
      const { body } = await front.get(`/sync?filter=${text}`, alice)
      expect(body).toMatchObject({
        rooms: { join: { [room.roomId]: { timeline: { events: [{}], limited: true } } } },
      })
    }
    const odd = encodeURIComponent('{"room":{"timeline":{"types":["a\\u0000b","%_"]}}}')
    expect((await front.get(`/sync?filter=${odd}`, alice)).status).toBe(200)
    for (const query of [
      'filter=none',
      'filter=%00',
      'filter={',
      'filter={"room":3}',
      'since=nonsense',
      'timeout=-1',
      'timeout=x',
      'set_presence=odd',
      'full_state=perhaps',
    ])
      expect((await front.get(`/sync?${query}`, alice)).status, query).toBe(400)
  })

  test('waits, and ends when something comes or the time is over', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { body: first } = await front.get('/sync', alice)
    const waiting = front.get(`/sync?since=${first['next_batch'] as string}&timeout=10000`, alice)
    const sent = await room.send(alice, 'hello')
    const { body } = await waiting
    expect(body).toMatchObject({
      rooms: { join: { [room.roomId]: { timeline: { events: [{ event_id: sent.eventId }] } } } },
    })
    const { body: empty } = await front.get(
      `/sync?since=${body['next_batch'] as string}&timeout=5`,
      alice,
    )
    expect(empty).not.toHaveProperty('rooms')
  })
})
