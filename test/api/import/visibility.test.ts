import { describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { testDatabase } from '#test/database.ts'
import { message, messages } from '#test/engine/room/import/importing.ts'
import { until } from '#test/until.ts'
import { findServed, knownNids } from '#engine/read/federation-events.ts'
import { findRoom } from '#engine/read/room.ts'
import { packEventId } from '#store/room/event-id.ts'
import { nidsOf } from '#store/room/list-rooms.ts'
import { placesOf } from '#store/user/receipts.ts'
import type { Person } from '#test/api/client-server/home.ts'
import { encoded, makeRoom, openImporting, path, readAll, say, texts } from './importing.ts'

const db = await testDatabase()
const { home, root } = await openImporting(db)
const ann = '@_import_ann:here.example'
const ben = '@_import_ben:here.example'
const people = [{ user_id: ann }, { user_id: ben }]

/** A thread, a reply, a reaction, an edit and a deletion, in words that nobody else says. */
const records = (word: string): JsonObject[] => [
  message('root', ann, 1_000_000, {
    content: { msgtype: 'm.file', body: `${word} root`, url: `mxc://here.example/${word}` },
  }),
  message('in-thread', ben, 1_001_000, { relates: { thread: 'root' } }),
  message('reply', ben, 1_002_000, { relates: { reply: 'root' } }),
  {
    ...message('smile', ben, 1_003_000, { relates: { target: 'root', key: '👍' } }),
    type: 'm.reaction',
    content: {},
  },
  message('edit', ann, 1_004_000, {
    content: {
      msgtype: 'm.text',
      body: `* ${word} better`,
      'm.new_content': { msgtype: 'm.text', body: `${word} better` },
    },
    relates: { target: 'root', rel_type: 'm.replace' },
  }),
  message('gone', ann, 1_005_000, { content: { msgtype: 'm.text', body: `${word} gone` } }),
  {
    ...message('deletion', ann, 1_006_000, { relates: { target: 'gone' } }),
    type: 'm.room.redaction',
    content: {},
  },
]

type Made = { roomId: string; session: string; ids: Record<string, string>; word: string }

async function staged(alice: Person, word: string): Promise<Made> {
  const roomId = await makeRoom(alice)
  await say(alice, roomId, 'before')
  await say(alice, roomId, 'after')
  const { body } = await root.client.post(path, {
    room_id: roomId,
    source: 'gitter',
    mode: 'insert',
    position: { at_start: true },
  })
  const session = body.session_id as string
  const sent = await root.client.put(`${path}/${session}/batches/0`, {
    people,
    records: records(word),
  })
  expect(sent.body).toMatchObject({ accepted: 7, failed: [] })
  const found = await root.client.post(`${path}/${session}/events`, {
    src_ids: records(word).map((record: JsonObject) => record['src_id']),
  })
  return { roomId, session, ids: found.body.events, word }
}

/** How much of an import each way of reading shows. */
async function shown(alice: Person, { roomId, ids, word }: Made) {
  const room = `/rooms/${encoded(roomId)}`
  const { client } = alice
  const rootId = encoded(ids['root']!)
  const search = { search_categories: { room_events: { search_term: word } } }
  const admin = '/_synapse/admin/v1'
  const [event, context, relations, threads, found, time, receipt, old, fetched, media] =
    await Promise.all([
      client.get(`${room}/event/${rootId}`),
      client.get(`${room}/context/${rootId}`),
      client.get(`/_matrix/client/v1${room}/relations/${rootId}`),
      client.get(`/_matrix/client/v1${room}/threads`),
      client.post('/search', search),
      client.get(`/_matrix/client/v1${room}/timestamp_to_event?ts=1000500&dir=f`),
      client.post(`${room}/report/${rootId}`, { reason: 'x' }),
      client.get(`/events/${rootId}`),
      root.client.get(`${admin}/fetch_event/${rootId}`),
      root.client.get(`${admin}/room/${encoded(roomId)}/media`),
    ])
  const ref = (await findRoom(db.pool, roomId))!
  return {
    texts: texts(await readAll(client, roomId, { limit: 3 })).length,
    event: event.status,
    context: context.status,
    relations: relations.status === 200 ? relations.body.chunk.length : relations.status,
    threads: threads.body.chunk.length,
    search: found.body.search_categories.room_events.count,
    time: time.body.event_id === ids['in-thread'],
    report: receipt.status,
    old: old.status,
    fetched: fetched.status,
    media: media.body.local.length,
    reported: (await nidsOf(db.pool, Object.values(ids).map(packEventId))).length,
    placed: (await placesOf(db.pool, Object.values(ids).map(packEventId))).length,
    served: (await findServed(db.pool, ids['root']!)) !== undefined,
    known: (await knownNids(db.pool, ref, Object.values(ids))).length,
  }
}

const nothing = {
  texts: 2,
  event: 404,
  context: 404,
  relations: 404,
  threads: 0,
  search: 0,
  time: false,
  report: 404,
  old: 404,
  fetched: 404,
  media: 0,
  reported: 0,
  placed: 0,
  served: false,
  known: 0,
}

const everything = {
  texts: 7,
  event: 200,
  context: 200,
  // Not the reply, which relates in no way that is counted.
  relations: 3,
  threads: 1,
  search: 2,
  time: true,
  report: 200,
  old: 200,
  fetched: 200,
  media: 1,
  reported: 7,
  placed: 7,
  served: true,
  known: 7,
}

const end = (session: string, what: string) => root.client.post(`${path}/${session}/${what}`)

describe('what is imported', () => {
  test('is seen by nobody before the commit, by everybody after it, and by nobody once it is undone', async () => {
    const alice = await home.person('alice')
    const made = await staged(alice, 'quokka')
    expect(await shown(alice, made)).toEqual(nothing)
    expect((await end(made.session, 'commit')).status).toBe(200)
    await until(async () => (await shown(alice, made)).search === everything.search)
    expect(await shown(alice, made)).toEqual(everything)

    const { body } = await alice.client.get(
      `/rooms/${encoded(made.roomId)}/event/${encoded(made.ids['root']!)}`,
    )
    const bundled = body.unsigned['m.relations']
    expect(bundled['m.thread']).toMatchObject({ count: 1 })
    expect(bundled['m.replace'].content['m.new_content'].body).toBe('quokka better')
    const gone = await alice.client.get(
      `/rooms/${encoded(made.roomId)}/event/${encoded(made.ids['gone']!)}`,
    )
    expect(gone.body.content).toEqual({})

    const undone = await end(made.session, 'undo')
    expect(undone.body).toEqual({ session_id: made.session, state: 'undone' })
    expect((await end(made.session, 'undo')).body).toEqual(undone.body)
    expect(await shown(alice, made)).toEqual(nothing)
    await until(async () => {
      const rows = await db.pool`
        select from search_words w join event_ids i using (shard, event_nid)
        join events e using (shard, event_nid)
        join import_chains c on c.shard = e.shard and c.chain = e.chain
        where c.hidden_at is not null`
      return rows.length === 0
    })
  })

  test('is gone when it is aborted, and may come again; nothing can be added or committed any more', async () => {
    const alice = await home.person('alice')
    const made = await staged(alice, 'numbat')
    const aborted = await end(made.session, 'abort')
    expect(aborted.body).toEqual({ session_id: made.session, state: 'aborted' })
    expect((await end(made.session, 'abort')).body).toEqual(aborted.body)
    expect(await shown(alice, made)).toEqual(nothing)
    for (const what of ['commit', 'undo']) expect((await end(made.session, what)).status).toBe(409)
    const more = await root.client.put(`${path}/${made.session}/batches/1`, { records: [] })
    expect(more.status).toBe(409)
    await until(async () => {
      const rows = await db.pool`
        select from events e join import_chains c using (shard, chain)
        join import_sessions s using (shard, chain)
        where s.session_id = ${made.session}`
      return rows.length === 0
    })
    const again = await root.client.post(path, {
      room_id: made.roomId,
      source: 'gitter',
      mode: 'append',
    })
    const sent = await root.client.put(`${path}/${again.body.session_id}/batches/0`, {
      people,
      records: records('numbat'),
    })
    expect(sent.body).toMatchObject({ accepted: 7, duplicates: 0, failed: [] })
    expect((await end(again.body.session_id, 'commit')).status).toBe(200)
    expect((await end(again.body.session_id, 'abort')).status).toBe(409)
  })

  test('comes again after it was undone', async () => {
    const alice = await home.person('alice')
    const roomId = await makeRoom(alice)
    for (const round of [0, 1]) {
      const { body } = await root.client.post(path, { room_id: roomId, source: 'x', mode: 'fresh' })
      const session = body.session_id
      const batch = { people, records: messages('m', ann, 5) }
      const sent = await root.client.put(`${path}/${session}/batches/0`, batch)
      expect(sent.body).toMatchObject({ accepted: 5, duplicates: 0 })
      await end(session, 'commit')
      expect(texts(await readAll(alice.client, roomId, { limit: 2 }))).toHaveLength(5)
      if (round > 0) break
      await end(session, 'undo')
      expect(texts(await readAll(alice.client, roomId, { limit: 2 }))).toEqual([])
    }
  })

  test('takes back what an earlier import said only when it is committed itself, and gives it back', async () => {
    const alice = await home.person('alice')
    const roomId = await makeRoom(alice)
    const open = async () =>
      (await root.client.post(path, { room_id: roomId, source: 'x', mode: 'append' })).body
        .session_id
    const first = await open()
    await root.client.put(`${path}/${first}/batches/0`, { people, records: messages('m', ann, 2) })
    await end(first, 'commit')
    const second = await open()
    const taken = {
      ...message('t', ann, 2_000_000_000_000 - 10 ** 12, { relates: { target: 'm0' } }),
      type: 'm.room.redaction',
      content: {},
    }
    const sent = await root.client.put(`${path}/${second}/batches/0`, { people, records: [taken] })
    expect(sent.body).toMatchObject({ accepted: 1, failed: [] })
    const read = async () => texts(await readAll(alice.client, roomId, { limit: 10 }))
    expect(await read()).toEqual(['m0', 'm1'])
    await end(second, 'commit')
    expect(await read()).toEqual(['', 'm1'])
    await end(second, 'undo')
    expect(await read()).toEqual(['m0', 'm1'])
  })
})

test('nothing of an import is news: nobody is told of more than the merge and the marker', async () => {
  const alice = await home.person('alice')
  const roomId = await makeRoom(alice)
  await say(alice, roomId, 'before')
  const { body: first } = await alice.client.get('/sync?timeout=0')
  const { body } = await root.client.post(path, {
    room_id: roomId,
    source: 'x',
    mode: 'insert',
    position: { at_start: true },
  })
  await root.client.put(`${path}/${body.session_id}/batches/0`, {
    people,
    records: messages('m', ann, 30),
  })
  const { body: quiet } = await alice.client.get(`/sync?timeout=0&since=${first.next_batch}`)
  expect(quiet.rooms?.join?.[roomId]).toBeUndefined()
  await end(body.session_id, 'commit')
  const { body: next } = await alice.client.get(`/sync?timeout=0&since=${first.next_batch}`)
  const room = next.rooms.join[roomId]
  expect(room.timeline.events.map((event: any) => event.type)).toEqual([
    'org.laneway.import.merge',
    'org.matrix.msc2716.marker',
  ])
  expect(room.unread_notifications).toMatchObject({ notification_count: 0, highlight_count: 0 })
  // Whoever comes anew pages back into it, and sees no break.
  const { body: anew } = await alice.client.get('/sync?timeout=0')
  const { timeline } = anew.rooms.join[roomId]
  const older = await readAll(alice.client, roomId, { limit: 7, from: timeline.prev_batch })
  const all = texts([...older, ...timeline.events])
  expect(all).toEqual([...Array.from({ length: 30 }, (_, index) => `m${index}`), 'before'])
})

test('the planner hears of a large import at once, so that whoever reads it first does not wait', async () => {
  const alice = await home.person('alicia')
  const roomId = await makeRoom(alice)
  const analyzed = async () => {
    const [row] = await db.pool<{ times: number }[]>`
      select analyze_count::int as times from pg_stat_user_tables where relname = 'relations'`
    return row!.times
  }
  const before = await analyzed()
  const wish = { room_id: roomId, source: 'large', mode: 'insert', position: { at_start: true } }
  const { body } = await root.client.post(path, wish)
  const batch = { people, records: messages('large', ann, 1_200) }
  await root.client.put(`${path}/${body.session_id}/batches/0`, batch)
  await end(body.session_id, 'commit')
  await until(async () => (await analyzed()) > before)
})
