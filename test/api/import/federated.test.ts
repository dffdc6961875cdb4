import { afterAll, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { hashToken } from '#engine/user/access-tokens.ts'
import { messages } from '#test/engine/room/import/importing.ts'
import { Home, homeName } from '#test/probes/home.ts'
import { Person } from '#test/api/server-server/two-homes.ts'
import { until } from '#test/until.ts'
import { encoded, path } from './importing.ts'

const home = await Home.open('peer.test')
afterAll(() => home.remove())
const [peer] = home.peers as [Home['peers'][0]]
const ann = `@_import_ann:${homeName}`

async function administrator(): Promise<Person> {
  const userId = `@root:${homeName}`
  const { users } = home.server.context
  await users.call('createUser', userId, { admin: true, createdAt: 1 })
  const tokenHash = hashToken('root')
  await users.call('createSession', userId, { deviceId: 'D', tokenHash, createdAt: 1 })
  return new Person(home.server, userId, 'root')
}

const root = await administrator()
const ask = async (method: string, at: string, body?: object) => {
  const answer = await root.fetch(at, {
    method,
    ...(body && { body: JSON.stringify(body) }),
  })
  return { status: answer.status, body: (await answer.json()) as any }
}

const federation = (method: 'GET' | 'POST', at: string, content?: JsonObject) =>
  peer.ask(home.base, homeName, method, `/_matrix/federation/v1/${at}`, content)

/** What the peer was sent of a type. */
const received = (type: string): JsonObject[] =>
  peer.received.flatMap(({ pdus }) => pdus).filter((pdu) => pdu['type'] === type)

test('a room in which another server is: refused, unless it is to be federated; then tied to the tip by its end alone', async () => {
  const creator = await home.server.person('creator')
  const roomId = await home.room(creator)
  const room = await home.joined(peer, roomId, 'far')
  const say = async (body: string) =>
    (
      await creator.do('PUT', `rooms/${encoded(roomId)}/send/m.room.message/${body}`, {
        msgtype: 'm.text',
        body,
      })
    ).event_id as string
  await say('one')
  const two = await say('two')
  await until(() => received('m.room.message').length === 2)
  const wish = {
    room_id: roomId,
    source: 'gitter',
    mode: 'insert',
    position: { before: two },
  }
  const refused = await ask('POST', path, wish)
  expect([refused.status, refused.body.errcode]).toEqual([409, 'M_CONFLICT'])
  const opened = await ask('POST', path, { ...wish, federate: true })
  expect(opened.body).toMatchObject({ plan: { remote_servers: 1 } })
  const session = opened.body.session_id as string
  const sent = await ask('PUT', `${path}/${session}/batches/0`, {
    people: [{ user_id: ann }],
    records: messages('m', ann, 20),
  })
  expect(sent.body).toMatchObject({ accepted: 20, failed: [] })
  const named = await ask('POST', `${path}/${session}/events`, { src_ids: ['m0', 'm19'] })
  const { m0, m19 } = named.body.events as Record<string, string>
  const served = async (id: string) => (await federation('GET', `event/${encoded(id)}`)).status
  expect(await served(m0!)).toBe(404)
  const hidden = await federation('GET', `backfill/${encoded(roomId)}?v=${encoded(m19!)}&limit=50`)
  expect(hidden.body['pdus']).toEqual([])

  const done = await ask('POST', `${path}/${session}/commit`)
  expect(done.status).toBe(200)
  await until(() => received('org.laneway.import.merge').length === 1)
  expect(received('m.room.message').length).toBe(2)
  const [merge] = received('org.laneway.import.merge')
  const prevs = merge!['prev_events'] as string[]
  expect(prevs).toHaveLength(2)
  expect(prevs).toContain(two)
  const boundary = prevs.find((id) => id !== two)!

  // Whoever lacks the end gets it, and nothing behind it, which would be shown as new.
  const missing = await federation('POST', `get_missing_events/${encoded(roomId)}`, {
    earliest_events: [two],
    latest_events: [done.body.merge_event_id],
    limit: 20,
  })
  const types = (pdus: unknown) => (pdus as JsonObject[]).map((pdu) => pdu['type'])
  expect(types(missing.body['events'])).toEqual(['org.laneway.import.boundary'])
  const [end] = missing.body['events'] as JsonObject[]
  const twoPdu = received('m.room.message')[1]!
  expect(end!['depth']).toBe(twoPdu['depth'])

  const backfilled = async () =>
    (await federation('GET', `backfill/${encoded(roomId)}?v=${encoded(boundary)}&limit=100`)).body[
      'pdus'
    ] as JsonObject[]
  const texts = (pdus: readonly JsonObject[]) =>
    pdus.flatMap(({ type, content }) =>
      type === 'm.room.message' ? [(content as JsonObject)['body'] as string] : [],
    )
  expect(texts(await backfilled()).filter((body) => /^m\d/.test(body))).toHaveLength(20)
  // What is equally deep as the event before which it is read comes after it, so that it is read first.
  const { body: page } = await federation(
    'GET',
    `backfill/${encoded(roomId)}?v=${encoded(done.body.merge_event_id)}&limit=50`,
  )
  const imported = Array.from({ length: 20 }, (_, index) => `m${19 - index}`)
  const pdus = page['pdus'] as JsonObject[]
  expect(texts(pdus)).toEqual(['two', ...imported, 'one'])
  const deep = pdus.filter(({ depth }) => depth === twoPdu['depth'])
  expect(texts(deep)).toEqual(['two', ...imported])
  // And before what is read before it, however few are asked for.
  const { body: few } = await federation(
    'GET',
    `backfill/${encoded(roomId)}?v=${encoded(done.body.merge_event_id)}&limit=10`,
  )
  expect(texts(few['pdus'] as JsonObject[])).toEqual(['two', ...imported.slice(0, 6)])
  expect(await served(m0!)).toBe(200)

  // The state is what it was, but for who spoke.
  const stateOf = async (id: string) => {
    const { body } = await federation('GET', `state_ids/${encoded(roomId)}?event_id=${encoded(id)}`)
    return new Set(body['pdu_ids'] as string[])
  }
  const before = await stateOf(two)
  const after = await stateOf(done.body.marker_event_id)
  const more = [...after].filter((id) => !before.has(id))
  expect([...before].filter((id) => !after.has(id))).toEqual([])
  expect(more).toHaveLength(1)
  const [left] = more
  const leave = await federation('GET', `event/${encoded(left!)}`)
  const [pdu] = leave.body['pdus'] as JsonObject[]
  expect(pdu).toMatchObject({ state_key: ann, content: { membership: 'leave' } })

  // The other server goes on as before.
  const said = room.say(peer.user('far'), 'still here')
  await home.send(peer, [said])
  await until(async () => (await home.stored(said))?.flags === 0)

  const undone = await ask('POST', `${path}/${session}/undo`)
  expect(undone.body).toEqual({ session_id: session, state: 'undone' })
  expect(await served(m0!)).toBe(404)
  expect(texts(await backfilled())).not.toContain('m5')
  // And is told to forget, event by event.
  await until(() => received('m.room.redaction').length === 20)
  const redacted = new Set(
    received('m.room.redaction').map(({ content }) => (content as JsonObject)['redacts']),
  )
  expect(redacted).toContain(m0!)
  expect(redacted.size).toBe(20)
})

test('behind all that was said other servers get the end alone, too; and the newest first, of whatever branch', async () => {
  const creator = await home.server.person('keeper')
  const roomId = await home.room(creator)
  await home.joined(peer, roomId, 'reader')
  const wish = { room_id: roomId, source: 'gitter', mode: 'append', federate: true }
  const importing = async (source: string, position?: object) => {
    const opened = await ask('POST', path, {
      ...wish,
      source,
      ...(position && { mode: 'insert', position }),
    })
    const session = opened.body.session_id as string
    const records = messages(source, ann, 20)
    await ask('PUT', `${path}/${session}/batches/0`, { people: [{ user_id: ann }], records })
    await creator.do('PUT', `rooms/${encoded(roomId)}/send/m.room.message/${source}`, {
      msgtype: 'm.text',
      body: `while ${source} came`,
    })
    const done = await ask('POST', `${path}/${session}/commit`)
    return done.body.merge_event_id as string
  }
  const merge = await importing('end')
  const { body: missing } = await federation('POST', `get_missing_events/${encoded(roomId)}`, {
    earliest_events: [],
    latest_events: [merge],
    limit: 20,
  })
  const said = (pdus: unknown) =>
    (pdus as JsonObject[]).flatMap(({ type, content }) =>
      type === 'm.room.message' ? [(content as JsonObject)['body'] as string] : [],
    )
  expect(said(missing['events'])).toEqual(['while end came'])
  expect((missing['events'] as JsonObject[]).map(({ type }) => type)).toContain(
    'org.laneway.import.boundary',
  )

  // Two at one place: one after the other, and both behind what comes next.
  await importing('start', { at_start: true })
  const [first] = await creator
    .do('GET', `rooms/${encoded(roomId)}/messages?dir=b&limit=100`)
    .then(({ chunk }) =>
      (chunk as JsonObject[]).filter(
        ({ content }) => (content as JsonObject)['body'] === 'while end came',
      ),
    )
  const last = await importing('again', { before: first!['event_id'] })
  const { body } = await federation(
    'GET',
    `backfill/${encoded(roomId)}?v=${encoded(last)}&limit=100`,
  )
  const down = (name: string) => Array.from({ length: 20 }, (_, index) => `${name}${19 - index}`)
  // At the end it is deeper than what was said meanwhile.
  const read = [
    'while again came',
    'while start came',
    ...down('end'),
    'while end came',
    ...down('again'),
    ...down('start'),
  ]
  expect(said(body['pdus'])).toEqual(read)
  const page = await creator.do('GET', `rooms/${encoded(roomId)}/messages?dir=b&limit=200`)
  expect(said(page.chunk)).toEqual(read)
})

test('a room that has become private meanwhile is left as it is: the import would take out who joined before', async () => {
  const creator = await home.server.person('maker')
  const roomId = await home.room(creator)
  const opened = await ask('POST', path, {
    room_id: roomId,
    source: 'gitter',
    mode: 'append',
    federate: true,
  })
  const session = opened.body.session_id as string
  await ask('PUT', `${path}/${session}/batches/0`, {
    people: [{ user_id: ann }],
    records: messages('m', ann, 3),
  })
  await home.joined(peer, roomId, 'guest')
  await creator.do('PUT', `rooms/${encoded(roomId)}/state/m.room.join_rules/`, {
    join_rule: 'invite',
  })
  const done = await ask('POST', `${path}/${session}/commit`)
  expect([done.status, done.body.errcode]).toEqual([409, 'M_CONFLICT'])
  expect(done.body.error).toContain('import anew')
  expect((await ask('POST', `${path}/${session}/abort`)).status).toBe(200)
  const members = await creator.do('GET', `rooms/${encoded(roomId)}/joined_members`)
  expect(Object.keys(members.joined).sort()).toEqual([creator.userId, peer.user('guest')].sort())
  const rule = await creator.do('GET', `rooms/${encoded(roomId)}/state/m.room.join_rules/`)
  expect(rule.join_rule).toBe('invite')
})
