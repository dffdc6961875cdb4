import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { irc, sms } from '#test/api/client-server/bridge.ts'
import { message, messages } from '#test/engine/room/import/importing.ts'
import { makeSenders } from '#engine/user/appservice-senders.ts'
import { encoded, makeRoom, openImporting, path, readAll, say, texts, told } from './importing.ts'

const db = await testDatabase()
const { home, root, restart } = await openImporting(db)
await makeSenders(home.ctx, home.ctx.appservices)
const alice = await home.person('alice')
const ghost = (name: string) => `@_import_${name}:here.example`
const people = [{ user_id: ghost('ann'), displayname: 'Ann' }, { user_id: ghost('ben') }]

async function open(roomId: string, more: object = {}): Promise<string> {
  const { status, body } = await root.client.post(path, {
    room_id: roomId,
    source: 'gitter',
    mode: 'fresh',
    ...more,
  })
  expect({ status, body }).toMatchObject({ status: 200 })
  return body.session_id
}

const send = (session: string, batch: number, body: object) =>
  root.client.put(`${path}/${session}/batches/${batch}`, body)

test('nobody but administrators and application services may import, and nothing is read of what others send', async () => {
  const roomId = await makeRoom(alice)
  const wish = { room_id: roomId, source: 'gitter', mode: 'fresh' }
  const session = await open(roomId)
  for (const client of [alice.client, home.client.as(undefined)]) {
    const status = client === alice.client ? 403 : 401
    expect((await client.post(path, wish)).status).toBe(status)
    // Not even that the body is no JSON is said.
    const text = { text: '{' }
    for (const [method, each] of [
      ['POST', path],
      ['GET', path],
      ['GET', `${path}/${session}`],
      ['PUT', `${path}/${session}/batches/0`],
      ['POST', `${path}/${session}/commit`],
      ['POST', `${path}/${session}/abort`],
      ['POST', `${path}/${session}/undo`],
      ['POST', `${path}/${session}/events`],
    ] as const)
      expect((await client.ask(method, each, method === 'GET' ? {} : text)).status).toBe(status)
  }
})

describe('an application service', () => {
  test('imports where it may mark an import, for users of its namespace, and sees no other imports', async () => {
    const asIrc = home.client.as(irc.asToken)
    const asSms = home.client.as(sms.asToken)
    const roomId = await makeRoom(alice)
    const wish = { room_id: roomId, source: 'irc', mode: 'fresh' }
    expect(told(await asIrc.post(path, wish))).toEqual([403, 'M_FORBIDDEN'])
    const { body: own } = await asIrc.post('/createRoom', { preset: 'public_chat' })
    const opened = await asIrc.post(path, { ...wish, room_id: own.room_id })
    expect(opened.status).toBe(200)
    const session = opened.body.session_id
    for (const client of [asSms, alice.client])
      expect((await client.get(`${path}/${session}`)).status).toBe(client === asSms ? 404 : 403)
    // However many imports of others came since.
    await db.pool`
      insert into import_sessions (shard, session_nid, room_nid, chain, base_snapshot, session_id,
        room_id, source, owner, mode, wish, state, anchors, created_at)
      select 1, -n, -n, -n, 1, 'other' || n, '!other', 'a', '@other:here.example', 'insert', '{}',
        'aborted', '{}', 1e15
      from generate_series(1, 1000) n`
    expect((await asSms.get(path)).body.sessions).toEqual([])
    expect((await asIrc.get(path)).body.sessions).toHaveLength(1)
    expect((await root.client.get(path)).body.sessions).toHaveLength(1000)
    const one = '@_irc_one:here.example'
    const batch = `${path}/${session}/batches/0`
    const foreign = { people: [{ user_id: ghost('ann') }], records: [] }
    expect(told(await asIrc.put(batch, foreign))).toEqual([403, 'M_FORBIDDEN'])
    const answer = await asIrc.put(batch, {
      people: [{ user_id: one, displayname: 'One' }],
      records: [
        message('a', one, 1_000),
        message('b', irc.sender, 2_000),
        message('c', one, 3_000),
      ],
    })
    // The sender is in the room, and is not named.
    expect(answer.body).toMatchObject({ accepted: 2, failed: [{ src_id: 'b' }] })
  })

  test('that was put out of the room adds nothing to it, publishes nothing there and takes nothing away', async () => {
    const asIrc = home.client.as(irc.asToken)
    const { body: own } = await alice.client.post('/createRoom', {
      preset: 'public_chat',
      power_level_content_override: { users: { [irc.sender]: 50 } },
    })
    const roomId = own.room_id as string
    await asIrc.post(`/join/${encoded(roomId)}`)
    const one = '@_irc_one:here.example'
    const batch = { people: [{ user_id: one }], records: [message('a', one, 1_000)] }
    const begin = async (source: string, mode: string) => {
      const opened = await asIrc.post(path, { room_id: roomId, source, mode })
      const session = `${path}/${opened.body.session_id}`
      expect((await asIrc.put(`${session}/batches/0`, batch)).body).toMatchObject({ accepted: 1 })
      return session
    }
    const published = await begin('first', 'fresh')
    expect((await asIrc.post(`${published}/commit`)).status).toBe(200)
    const waiting = await begin('second', 'append')
    await alice.client.post(`/rooms/${encoded(roomId)}/kick`, { user_id: irc.sender })
    for (const refused of [
      await asIrc.put(`${waiting}/batches/1`, batch),
      await asIrc.post(`${waiting}/commit`),
      await asIrc.post(`${published}/undo`),
    ])
      expect(told(refused)).toEqual([403, 'M_FORBIDDEN'])
    expect((await root.client.post(`${waiting}/abort`)).status).toBe(200)
    expect((await root.client.post(`${published}/undo`)).status).toBe(200)
  })
})

describe('a session', () => {
  test('is opened once for a room and source, told, and listed', async () => {
    const roomId = await makeRoom(alice)
    const session = await open(roomId)
    expect(await open(roomId)).toBe(session)
    expect(await open(roomId, { source: 'slack' })).not.toBe(session)
    const { body } = await root.client.get(`${path}/${session}`)
    expect(body).toMatchObject({
      session_id: session,
      room_id: roomId,
      source: 'gitter',
      mode: 'fresh',
      state: 'open',
      next_batch: 0,
      accepted: 0,
      waiting: 0,
    })
    const listed = await root.client.get(`${path}?room_id=${encoded(roomId)}&source=gitter`)
    expect(listed.body.sessions.map((each: any) => each.session_id)).toEqual([session])
    expect(told(await root.client.get(`${path}/nothing`))).toEqual([404, 'M_NOT_FOUND'])
  })

  test('is refused with a sentence where it cannot be', async () => {
    const roomId = await makeRoom(alice)
    const ask = (more: object) =>
      root.client.post(path, { room_id: roomId, source: 'gitter', mode: 'fresh', ...more })
    expect(told(await ask({ room_id: '!nothing:here.example' }))).toEqual([404, 'M_NOT_FOUND'])
    expect(told(await ask({ mode: 'insert' }))).toEqual([400, 'M_INVALID_PARAM'])
    expect(told(await ask({ mode: 'sideways' }))).toEqual([400, 'M_BAD_JSON'])
    expect(told(await ask({ mode: 'archive' }))).toEqual([400, 'M_INVALID_PARAM'])
    expect(told(await ask({ source: 'a\0b' }))).toEqual([400, 'M_INVALID_PARAM'])
    const position = { before: '$WbHtBKBHsTyHOtpbCG1Qa9nIVdnmFn0XsgQgZw8b4vA' }
    expect(told(await ask({ mode: 'insert', position }))).toEqual([400, 'M_INVALID_PARAM'])
    const dry = await ask({ dry_run: true })
    expect(dry.body).toMatchObject({ mode: 'fresh', plan: { remote_servers: 0 } })
    expect(dry.body.session_id).toBeUndefined()
    await say(alice, roomId, 'hello')
    const { status, body } = await ask({})
    expect([status, body.errcode]).toEqual([409, 'M_CONFLICT'])
    expect(body.error).toContain('insert')
  })
})

describe('a batch', () => {
  test('is answered once: a repetition changes nothing, and one too far is told the next', async () => {
    const session = await open(await makeRoom(alice))
    const batch = { people, records: messages('m', ghost('ann'), 3) }
    const first = await send(session, 0, batch)
    expect(first.body).toEqual({
      next_batch: 1,
      accepted: 3,
      duplicates: 0,
      waiting: 0,
      failed: [],
    })
    expect((await send(session, 0, batch)).body).toEqual(first.body)
    expect((await send(session, 0, { records: [] })).body).toEqual(first.body)
    const far = await send(session, 2, batch)
    expect([...told(far), far.body.next_batch]).toEqual([409, 'M_CONFLICT', 1])
    const again = await send(session, 1, batch)
    expect(again.body).toMatchObject({ next_batch: 2, accepted: 0, duplicates: 3 })
    expect(told(await send(session, -1, batch))).toEqual([400, 'M_INVALID_PARAM'])
    const { body } = await root.client.get(`${path}/${session}`)
    expect(body).toMatchObject({ next_batch: 2, accepted: 3, duplicates: 3, failed: 0 })
  })

  test('may be lines, too', async () => {
    const session = await open(await makeRoom(alice))
    const lines = [
      { person: people[0] },
      ...messages('m', ghost('ann'), 2).map((record) => ({ record })),
    ]
    const text = `${lines.map((line) => JSON.stringify(line)).join('\n')}\n{"record":{oops}}\n`
    const headers = { 'content-type': 'application/x-ndjson' }
    const put = (body: string) =>
      root.client.ask('PUT', `${path}/${session}/batches/0`, { text: body, headers })
    expect(told(await put('{"nobody":1}'))).toEqual([400, 'M_BAD_JSON'])
    expect((await put(text)).body).toMatchObject({
      accepted: 2,
      failed: [{ src_id: '', errcode: 'M_NOT_JSON' }],
    })
  })

  test('has what is wrong with each record told, and takes the others', async () => {
    const session = await open(await makeRoom(alice))
    const ann = ghost('ann')
    const good = message('good', ann, 1_000)
    const { body } = await send(session, 0, {
      people,
      records: [
        good,
        { ...good, src_id: 'remote', sender: '@ann:far.example' },
        { ...good, src_id: 'nobody', sender: ghost('nobody') },
        { ...good, src_id: 'future', ts: home.now + 10 ** 12 },
        { ...good, src_id: 'never', ts: -1 },
        { ...good, src_id: 'fraction', ts: 1.5 },
        { ...good, src_id: 'state', type: 'm.room.name', state_key: '' },
        { ...good, src_id: 'large', content: { body: 'x'.repeat(70_000) } },
        { ...good, src_id: 'float', content: { body: 'x', size: 1.5 } },
        { ...good, src_id: 'self', relates: { reply: 'self' } },
        { ...good, src_id: 'reaction', type: 'm.reaction' },
        { ...good, src_id: '' },
        { ...good, src_id: 'untyped', type: '' },
        { ...good, src_id: 'contentless', content: 'text' },
        { ...good, src_id: 'last' },
      ],
    })
    expect(body.accepted).toBe(2)
    const failed = body.failed.map((each: any) => `${each.src_id} ${each.errcode}`)
    expect(failed.sort()).toEqual(
      [
        'remote M_INVALID_PARAM',
        'nobody M_FORBIDDEN',
        'future M_INVALID_PARAM',
        'never M_INVALID_PARAM',
        'fraction M_INVALID_PARAM',
        'state M_FORBIDDEN',
        'large M_TOO_LARGE',
        'float M_BAD_JSON',
        'self M_INVALID_PARAM',
        'reaction M_INVALID_PARAM',
        ' M_INVALID_PARAM',
        'untyped M_INVALID_PARAM',
        'contentless M_INVALID_PARAM',
      ].sort(),
    )
    // Sent again once it is right.
    const mended = { ...good, src_id: 'large', content: { body: 'x' } }
    expect((await send(session, 1, { records: [mended] })).body).toMatchObject({ accepted: 1 })
  })

  test('of somebody who has no account, and is not of the import, is refused whole', async () => {
    const session = await open(await makeRoom(alice))
    const answer = await send(session, 0, {
      people: [{ user_id: '@who:here.example' }],
      records: [],
    })
    expect(told(answer)).toEqual([400, 'M_INVALID_PARAM'])
  })
})

test('an import is the history of its room, whatever it is read in', async () => {
  const roomId = await makeRoom(alice)
  const session = await open(roomId)
  await send(session, 0, { people, records: messages('a', ghost('ann'), 120) })
  await restart()
  await send(session, 1, { records: messages('b', ghost('ben'), 30, 1_500_000_000_000) })
  const answer = await root.client.post(`${path}/${session}/commit`)
  expect(answer.body).toMatchObject({ accepted: 150, lost: [] })
  expect((await root.client.post(`${path}/${session}/commit`)).body).toEqual(answer.body)
  await say(alice, roomId, 'now')
  const names = (prefix: string, count: number) =>
    Array.from({ length: count }, (_, index) => `${prefix}${index}`)
  const all = [...names('a', 120), ...names('b', 30), 'now']
  for (const limit of [7, 100])
    for (const dir of ['b', 'f'] as const)
      expect(texts(await readAll(alice.client, roomId, { limit, dir }))).toEqual(all)
  const { body } = await root.client.post(`${path}/${session}/events`, {
    src_ids: ['a0', 'b29', 'never'],
  })
  expect(Object.keys(body.events)).toEqual(['a0', 'b29'])
  const one = `/rooms/${encoded(roomId)}/event/${encoded(body.events.a0)}`
  expect((await alice.client.get(one)).body.content.body).toBe('a0')
})
