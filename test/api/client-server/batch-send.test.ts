import { describe, expect, test } from 'bun:test'
import { until } from '#test/until.ts'
import {
  batch,
  batchOf,
  type Event,
  historical,
  historyHomes,
  Importer,
  insertion,
  joinOf,
  messageOf,
  queryOf,
  readAll,
  textsOf,
  typesOf,
} from './history.ts'

/** MSC2716 on one server: where history reads, what it changes, and what it does not. */
const [home] = await historyHomes(['old.test', 'other.test'])
const importer = new Importer(home)
const alice = await home.person('alice')
const [maria, ricky] = [await importer.ghost('maria'), await importer.ghost('ricky')]

/** A room in which Alice has said some things; their event IDs. */
async function talk(texts: readonly string[], wish: object = {}) {
  const roomId = await importer.room(wish)
  const path = encodeURIComponent(roomId)
  await importer.do('POST', `rooms/${path}/invite`, { user_id: alice.userId })
  await alice.do('POST', `join/${path}`, {})
  const ids: string[] = []
  for (const text of texts) ids.push(await alice.say(roomId, text))
  return { roomId, ids, path: `rooms/${path}` }
}

const eventOf = async (path: string, id: string): Promise<Event> =>
  alice.do('GET', `${path}/event/${encodeURIComponent(id)}`)

describe('history reads', () => {
  test('directly behind the event that was named, each batch before those that were sent earlier', async () => {
    const { roomId, ids } = await talk(['a', 'b', 'c'])
    const first = await importer.batch(roomId, ids[0]!, ['h3', 'h4'], { senders: [maria, ricky] })
    const second = await importer.batch(roomId, ids[0]!, ['h1', 'h2'], {
      senders: [ricky],
      batchId: first.next_batch_id,
    })
    const expected = ['a', 'h1', 'h2', 'h3', 'h4', 'b', 'c']
    for (const limit of [1, 3, 100]) {
      expect(textsOf(await readAll(alice, roomId, 'b', limit))).toEqual(expected)
      expect(textsOf(await readAll(alice, roomId, 'f', limit))).toEqual(expected)
    }
    const all = await readAll(alice, roomId, 'f')
    const between = [insertion, 'h1', 'h2', batch, insertion, 'h3', 'h4', batch, insertion]
    expect(typesOf(all).slice(-12)).toEqual(['a', ...between, 'b', 'c'])
    const idOf = (text: string) => all.find(({ content }) => content['body'] === text)!.event_id
    expect(first.event_ids).toEqual([idOf('h3'), idOf('h4')])
    expect(second.event_ids).toEqual([idOf('h1'), idOf('h2')])
    const ofType = all.filter(({ type }) => type === insertion).map((each) => each.event_id)
    expect(ofType).toEqual([
      second.insertion_event_id,
      first.insertion_event_id,
      first.base_insertion_event_id!,
    ])
    expect(second).not.toHaveProperty('base_insertion_event_id')
    expect(new Set(all.slice(-11, -2).map(({ content }) => content[historical]))).toEqual(
      new Set([true]),
    )
  })

  test('behind the newest event, and what is said then comes after it', async () => {
    const { roomId, ids } = await talk(['a'])
    await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria] })
    await alice.say(roomId, 'b')
    await importer.batch(roomId, ids[0]!, ['g1'], { senders: [maria] })
    await alice.say(roomId, 'c')
    const expected = ['a', 'g1', 'h1', 'h2', 'b', 'c']
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(expected)
    expect(textsOf(await readAll(alice, roomId, 'b', 2))).toEqual(expected)
  })

  test('behind an event that was put in itself', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const first = await importer.batch(roomId, ids[0]!, ['h1', 'h3'], { senders: [maria] })
    await importer.batch(roomId, first.event_ids[0]!, ['h2'], { senders: [maria] })
    const expected = ['a', 'h1', 'h2', 'h3', 'b']
    expect(textsOf(await readAll(alice, roomId, 'f', 2))).toEqual(expected)
    expect(textsOf(await readAll(alice, roomId, 'b', 2))).toEqual(expected)
  })

  test('on from a token that was taken before it came', async () => {
    const { roomId, ids, path } = await talk(['a', 'b', 'c'])
    const { end } = await alice.do('GET', `${path}/messages?dir=b&limit=2`)
    await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria] })
    const { chunk } = await alice.do('GET', `${path}/messages?dir=b&limit=6&from=${end}`)
    expect(textsOf(chunk)).toEqual(['h2', 'h1', 'a'])
  })

  test('by its time, by its ID and around it', async () => {
    const { roomId, ids, path } = await talk(['a', 'b'])
    const { event_ids: own } = await importer.batch(roomId, ids[0]!, ['h1', 'h2', 'h3'], {
      senders: [maria],
    })
    const { origin_server_ts: ts, sender } = await eventOf(path, own[1]!)
    expect(sender).toBe(maria)
    const found = await alice.fetch(`/_matrix/client/v1/${path}/timestamp_to_event?ts=${ts}&dir=b`)
    expect(await found.json()).toMatchObject({ event_id: own[1]! })
    const around = await alice.do('GET', `${path}/context/${encodeURIComponent(own[0]!)}?limit=8`)
    expect(textsOf(around.events_before)).toEqual(['a'])
    expect(textsOf(around.events_after)).toEqual(['h2', 'h3'])
  })
})

describe('who speaks in a batch', () => {
  test('is named as the batch says, and only there', async () => {
    const { roomId, ids, path } = await talk(['a', 'b'])
    const sent = await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria, ricky] })
    expect(sent.state_event_ids.length).toBe(2)
    for (const filter of ['', '&filter={"lazy_load_members":true}']) {
      const { state } = await alice.do('GET', `${path}/messages?dir=b&limit=100${filter}`)
      const names = new Map((state as Event[]).map((each) => [each.state_key, each.content]))
      expect(names.get(maria)).toMatchObject({
        displayname: 'Old maria',
        avatar_url: 'mxc://old.test/maria',
        [historical]: true,
      })
      expect(names.get(ricky)).toMatchObject({ displayname: 'Old ricky' })
    }
    expect(await alice.membershipOf(roomId, maria)).toBeUndefined()
    const { joined } = await alice.do('GET', `${path}/joined_members`)
    expect(Object.keys(joined).sort()).toEqual([alice.userId, importer.userId].sort())
    // Readers are not told of joins before each batch.
    const members = (await readAll(alice, roomId, 'f')).filter((each) => each.state_key === maria)
    expect(members).toEqual([])
    expect(await eventOf(path, sent.state_event_ids[0]!)).toMatchObject({ state_key: maria })
  })

  test('needs no state if they are in the room already', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const body = { ...batchOf(['h1'], [importer.userId]), state_events_at_start: [] }
    const { status, body: sent } = await importer.send(roomId, queryOf(ids[0]!), body)
    expect({ status, ids: sent.state_event_ids }).toEqual({ status: 200, ids: [] })
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(['a', 'h1', 'b'])
  })

  test('comes to a private room by an invite of the batch', async () => {
    const { roomId, ids } = await talk(['a', 'b'], { preset: 'private_chat' })
    const body = batchOf(['h1'], [maria])
    const refused = await importer.send(roomId, queryOf(ids[0]!), body)
    expect([refused.status, refused.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    const invite = joinOf(maria, { sender: importer.userId, content: { membership: 'invite' } })
    const { status, body: sent } = await importer.send(roomId, queryOf(ids[0]!), {
      ...body,
      state_events_at_start: [invite, ...body.state_events_at_start],
    })
    expect({ status, count: sent.state_event_ids?.length }).toEqual({ status: 200, count: 2 })
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(['a', 'h1', 'b'])
  })

  test('is the same event when they come again at the same place', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const first = await importer.batch(roomId, ids[0]!, ['h2'], { senders: [maria] })
    const second = await importer.batch(roomId, ids[0]!, ['h1'], {
      senders: [maria],
      batchId: first.next_batch_id,
    })
    expect(second.state_event_ids).toEqual(first.state_event_ids)
    expect(textsOf(await readAll(alice, roomId, 'b'))).toEqual(['a', 'h1', 'h2', 'b'])
  })
})

describe('a batch', () => {
  test('may begin with other state, which the room does not take', async () => {
    const { roomId, ids, path } = await talk(['a', 'b'], { name: 'Now' })
    const then = { type: 'm.room.name', sender: importer.userId, state_key: '' }
    const body = batchOf(['h1'], [maria])
    const { body: sent } = await importer.send(roomId, queryOf(ids[0]!), {
      ...body,
      state_events_at_start: [
        { ...then, origin_server_ts: 1, content: { name: 'Then' } },
        ...body.state_events_at_start,
      ],
    })
    expect(await eventOf(path, sent.state_event_ids[0])).toMatchObject({
      content: { name: 'Then' },
    })
    expect(await alice.do('GET', `${path}/state/m.room.name`)).toMatchObject({ name: 'Now' })
    const { state } = await alice.do(
      'GET',
      `${path}/context/${encodeURIComponent(sent.event_ids[0])}?limit=0`,
    )
    const names = (state as Event[]).filter(({ type }) => type === 'm.room.name')
    expect(names.map(({ content }) => content['name'])).toEqual(['Then'])
  })

  test('is no news: not to /sync, and nobody is notified', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const { next_batch: since } = await alice.do('GET', 'sync?timeout=0')
    await importer.batch(roomId, ids[0]!, ['h1', alice.userId], { senders: [maria] })
    await importer.batch(roomId, ids[1]!, ['h2'], { senders: [maria] })
    const c = await importer.say(roomId, 'c')
    let told: any
    await until(async () => {
      const { rooms } = await alice.do('GET', `sync?timeout=0&since=${since}`)
      told = rooms?.join?.[roomId]
      return told?.timeline.events.some((each: Event) => each.event_id === c)
    })
    expect(told.timeline.events.map((each: Event) => each.event_id)).toEqual([c])
    expect(told.unread_notifications).toMatchObject({ notification_count: 1, highlight_count: 0 })
    const whole = await alice.do('GET', 'sync?timeout=0')
    expect(textsOf(whole.rooms.join[roomId].timeline.events)).toEqual(['a', 'b', 'c'])
  })

  test('that is asked for again is not put in again', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const body = batchOf(['h1', 'h2'], [maria])
    const send = () => importer.send(roomId, queryOf(ids[0]!), body)
    const [first, same] = await Promise.all([send(), send()])
    expect(same).toEqual(first!)
    expect(await send()).toEqual(first!)
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(['a', 'h1', 'h2', 'b'])
  })

  test('is put in whole or not at all', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const read = async () => (await readAll(alice, roomId, 'f')).map((each) => each.event_id)
    const before = await read()
    const body = batchOf(['h1', 'h2', 'h3'], [maria])
    body.events[2] = messageOf('h3', ricky)
    const { status } = await importer.send(roomId, queryOf(ids[0]!), body)
    expect(status).toBe(403)
    body.events[2] = messageOf('h'.repeat(70_000), maria)
    expect((await importer.send(roomId, queryOf(ids[0]!), body)).status).toBe(413)
    expect(await read()).toEqual(before)
  })

  test('holds replies in threads and reactions that are counted, and redactions that count', async () => {
    const { roomId, ids, path } = await talk(['a', 'b'])
    const first = await importer.batch(roomId, ids[0]!, ['root', 'gone'], { senders: [maria] })
    const [root, gone] = first.event_ids as [string, string]
    const relates = (relation: object) => ({ 'm.relates_to': { event_id: root, ...relation } })
    const reply = messageOf('reply', ricky, 2)
    const said = (type: string, content: object) => ({ ...reply, type, content })
    const { status, body } = await importer.send(roomId, queryOf(gone), {
      state_events_at_start: [joinOf(ricky)],
      events: [
        said('m.room.message', { ...reply.content, ...relates({ rel_type: 'm.thread' }) }),
        said('m.reaction', relates({ rel_type: 'm.annotation', key: '+' })),
        { ...said('m.room.redaction', {}), sender: maria, redacts: gone },
      ],
    })
    expect([status, body.errcode]).toEqual([200, undefined])
    await until(async () => {
      const { unsigned } = (await eventOf(path, root)) as Event & { unsigned?: any }
      return unsigned?.['m.relations']?.['m.thread']?.count === 1
    })
    expect((await eventOf(path, gone)).content).toEqual({})
    const page = await alice.fetch(
      `/_matrix/client/v1/${path}/relations/${encodeURIComponent(root)}/m.annotation`,
    )
    const { chunk } = (await page.json()) as { chunk: Event[] }
    expect(chunk.map((each) => each.event_id)).toEqual([body.event_ids[1]])
  })

  test('relates to its own events by names that it gives them', async () => {
    const { roomId, ids, path } = await talk(['a', 'b'])
    const named = (text: string, index: number, name: string, relation?: object) => ({
      ...messageOf(text, maria, index),
      'laneway.name': name,
      content: { msgtype: 'm.text', body: text, ...(relation && { 'm.relates_to': relation }) },
    })
    const to = (name: string) => ({ event_id: `laneway.name:${name}` })
    const events = [
      named('root', 0, 'one'),
      named('reply', 1, 'two', {
        rel_type: 'm.thread',
        ...to('one'),
        'm.in_reply_to': to('one'),
      }),
      {
        ...messageOf('', maria, 2),
        type: 'm.room.redaction',
        content: {},
        redacts: to('two').event_id,
      },
    ]
    const send = (list: object[]) =>
      importer.send(roomId, queryOf(ids[0]!), {
        state_events_at_start: [joinOf(maria)],
        events: list,
      })
    const { status, body } = await send(events.slice(0, 2))
    expect(status).toBe(200)
    const [root, reply] = body.event_ids
    const { content } = await eventOf(path, reply)
    expect(content['m.relates_to']).toEqual({
      rel_type: 'm.thread',
      event_id: root,
      'm.in_reply_to': { event_id: root },
    })
    expect(JSON.stringify(await eventOf(path, root))).not.toContain('laneway.name')
    const redacted = await send(events)
    expect((await eventOf(path, redacted.body.event_ids[1])).content).toEqual({})
    // What comes later has no name yet.
    expect((await send(events.toReversed())).status).toBe(400)
  })

  test('goes on after a restart, behind the newest event too', async () => {
    const { roomId, ids } = await talk(['a'])
    const first = await importer.batch(roomId, ids[0]!, ['h2'], { senders: [maria] })
    await home.stop()
    await home.start()
    await importer.batch(roomId, ids[0]!, ['h1'], {
      senders: [maria],
      batchId: first.next_batch_id,
    })
    await importer.batch(roomId, first.base_insertion_event_id!, ['h3'], { senders: [maria] })
    await alice.say(roomId, 'b')
    await alice.say(roomId, 'c')
    const expected = ['a', 'h1', 'h2', 'h3', 'b', 'c']
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(expected)
    expect(textsOf(await readAll(alice, roomId, 'b', 2))).toEqual(expected)
  })

  test('can be redacted message by message', async () => {
    const { roomId, ids, path } = await talk(['a', 'b'])
    const sent = await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria] })
    const target = encodeURIComponent(sent.event_ids[0]!)
    await importer.do('PUT', `${path}/redact/${target}/1`, {})
    await until(async () => (await eventOf(path, sent.event_ids[0]!)).content['body'] === undefined)
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(['a', undefined!, 'h2', 'b'])
  })

  test('is a line in the graph that begins with what it follows, as deep as what came next', async () => {
    const { roomId, ids } = await talk(['a', 'b'])
    const sent = await importer.batch(roomId, ids[0]!, ['h1', 'h2'], { senders: [maria] })
    const { sql } = home.context
    const rows = await sql<{ json: string }[]>`
      select j.json from event_json j join events e using (shard, event_nid)
      join rooms r using (shard, room_nid) where r.room_id = ${roomId}
      order by e.event_nid`
    const events = rows.map(({ json }) => JSON.parse(json))
    const next = events.find(({ content }) => content.body === 'b')
    const h1 = events.find(({ content }) => content.body === 'h1')
    const join = events.find((each) => each.state_key === maria)
    const inner = events.find(({ content }) => content.next_batch_id === sent.next_batch_id)
    const base = events.filter(({ type }) => type === insertion).find((each) => each !== inner)
    expect(join.prev_events).toEqual([ids[0]])
    expect(inner.prev_events).toEqual(sent.state_event_ids)
    expect(h1.prev_events).toEqual([sent.insertion_event_id])
    expect(base.prev_events).toEqual([ids[0]])
    for (const { depth } of [join, inner, h1, base]) expect(depth).toBe(next.depth)
  })
})
