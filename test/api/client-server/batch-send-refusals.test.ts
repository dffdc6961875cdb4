import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { irc, openBridged } from './bridge.ts'
import {
  batchOf,
  historyHomes,
  Importer,
  insertion,
  joinOf,
  marker,
  messageOf,
  queryOf,
  readAll,
  textsOf,
} from './history.ts'

/** MSC2716: what is refused, what of older releases is understood, and what room versions make of it. */
const [home] = await historyHomes(['old.test', 'other.test'])
const importer = new Importer(home)
const alice = await home.person('alice')
const maria = await importer.ghost('maria')
const { roomId, ids } = await talk()

async function talk(wish: object = {}) {
  const made = await importer.room(wish)
  await alice.do('POST', `join/${encodeURIComponent(made)}`, {})
  return { roomId: made, ids: [await alice.say(made, 'a'), await alice.say(made, 'b')] }
}

const good = () => batchOf(['h1', 'h2'], [maria])

describe('refused is', () => {
  const query = () => queryOf(ids[0]!)
  const cases: [string, () => Promise<{ status: number; body: any }>, number, string][] = [
    [
      'a user who is no application service',
      () => new Importer(home, alice).send(roomId, query(), good()),
      403,
      'M_FORBIDDEN',
    ],
    ['no prev_event_id', () => importer.send(roomId, '', good()), 400, 'M_MISSING_PARAM'],
    [
      'an unknown prev_event_id',
      () => importer.send(roomId, queryOf('$unknown'), good()),
      400,
      'M_INVALID_PARAM',
    ],
    [
      'one of another room',
      async () => importer.send(roomId, queryOf((await talk()).ids[0]!), good()),
      400,
      'M_INVALID_PARAM',
    ],
    [
      'an unknown batch_id',
      () => importer.send(roomId, queryOf(ids[0]!, 'unknown'), good()),
      400,
      'M_INVALID_PARAM',
    ],
    [
      'one of another room',
      async () => {
        const other = await talk()
        const sent = await importer.batch(other.roomId, other.ids[0]!, ['x'], { senders: [maria] })
        return importer.send(roomId, queryOf(ids[0]!, sent.next_batch_id), good())
      },
      400,
      'M_INVALID_PARAM',
    ],
    [
      'a body without events',
      () => importer.send(roomId, query(), { state_events_at_start: [] }),
      400,
      'M_MISSING_PARAM',
    ],
    [
      'one without state_events_at_start',
      () => importer.send(roomId, query(), { events: good().events }),
      400,
      'M_MISSING_PARAM',
    ],
    [
      'a list that is none',
      () => importer.send(roomId, query(), { ...good(), events: 'h1' }),
      400,
      'M_INVALID_PARAM',
    ],
    [
      'an empty batch',
      () => importer.send(roomId, query(), { ...good(), events: [] }),
      400,
      'M_INVALID_PARAM',
    ],
    [
      'more events than are put in at once',
      () => importer.send(roomId, query(), batchOf(Array(1001).fill('h'), [maria])),
      413,
      'M_TOO_LARGE',
    ],
    ...['type', 'sender', 'content', 'origin_server_ts'].map((key): (typeof cases)[number] => [
      `an event without ${key}`,
      () => {
        const { [key]: _, ...event } = messageOf('h', maria) as Record<string, unknown>
        return importer.send(roomId, query(), { ...good(), events: [event] })
      },
      400,
      'M_MISSING_PARAM',
    ]),
    [
      'state without state_key',
      () => {
        const { state_key: _, ...join } = joinOf(maria)
        return importer.send(roomId, query(), { ...good(), state_events_at_start: [join] })
      },
      400,
      'M_MISSING_PARAM',
    ],
    [
      'a time that cannot be',
      () => {
        const events = [{ ...messageOf('h', maria), origin_server_ts: 1.5 }]
        return importer.send(roomId, query(), { ...good(), events })
      },
      400,
      'M_INVALID_PARAM',
    ],
    [
      'a sender of another server',
      () => importer.send(roomId, query(), batchOf(['h'], ['@maria:other.test'])),
      403,
      'M_FORBIDDEN',
    ],
    [
      'a sender outside of the namespace',
      () => importer.send(roomId, query(), batchOf(['h'], [alice.userId])),
      403,
      'M_FORBIDDEN',
    ],
    [
      'a sender who is not registered',
      () => importer.send(roomId, query(), batchOf(['h'], ['@maria-nobody:old.test'])),
      403,
      'M_FORBIDDEN',
    ],
    [
      'a sender who is not in the room by then',
      () => importer.send(roomId, query(), { ...good(), state_events_at_start: [] }),
      403,
      'M_FORBIDDEN',
    ],
    [
      'a room that is not there',
      () => importer.send('!nowhere:old.test', query(), good()),
      404,
      'M_NOT_FOUND',
    ],
  ]
  for (const [what, ask, status, errcode] of cases)
    test(what, async () => {
      const answer = await ask()
      expect([answer.status, answer.body.errcode]).toEqual([status, errcode])
    })

  test('and nothing of all that was put in', async () => {
    expect(textsOf(await readAll(alice, roomId, 'f'))).toEqual(['a', 'b'])
  })
})

test('where the operator does not want it, there is no such endpoint, and no such room version', async () => {
  const closed = await openBridged(await testDatabase())
  const asIrc = closed.client.as(irc.asToken)
  const path = '/_matrix/client/unstable/org.matrix.msc2716/rooms/!a:here.example/batch_send'
  const { status, body } = await asIrc.ask('POST', path, { body: good() })
  expect([status, body.errcode]).toEqual([404, 'M_UNRECOGNIZED'])
  const made = await asIrc.post('/createRoom', { room_version: 'org.matrix.msc2716v4' })
  expect([made.status, made.body.errcode]).toEqual([400, 'M_UNSUPPORTED_ROOM_VERSION'])
  const told = await asIrc.ask('GET', '/_matrix/client/versions')
  expect(told.body.unstable_features['org.matrix.msc2716']).toBe(false)
})

test('where the operator wants it, clients are told', async () => {
  const response = await alice.fetch('/_matrix/client/versions')
  const { unstable_features: features } = (await response.json()) as any
  expect(features['org.matrix.msc2716']).toBe(true)
  const { capabilities } = await alice.do('GET', 'capabilities')
  const { available } = capabilities['m.room_versions']
  expect(available['org.matrix.msc2716v4']).toBe('unstable')
  expect(available['org.matrix.msc2716v3']).toBe('unstable')
  expect(available['10']).toBe('stable')
})

describe('the same', () => {
  const paths = [
    (room: string) => `/_matrix/client/v1/rooms/${encodeURIComponent(room)}/batch_send`,
    (room: string) =>
      `/_matrix/client/unstable/org.matrix.msc2716/rooms/${encodeURIComponent(room)}/batch_send`,
  ]

  test('has a path that was to be stable', async () => {
    const room = await talk()
    const { status, body } = await importer.send(
      room.roomId,
      queryOf(room.ids[0]!),
      good(),
      paths[0]!(room.roomId),
    )
    expect([status, body.event_ids?.length]).toEqual([200, 2])
  })

  for (const method of ['POST', 'PUT'])
    test(`is understood as ${method} with the names of Synapse 1.37, and answered with them`, async () => {
      const room = await talk()
      const send = (query: object, texts: string[]) =>
        importer.send(
          room.roomId,
          new URLSearchParams({ prev_event: room.ids[0]!, ...query }).toString(),
          batchOf(texts, [maria]),
          paths[1]!(room.roomId),
          method,
        )
      const { status, body: first } = await send({}, ['h3', 'h4'])
      expect(status).toBe(200)
      expect(first.events).toEqual([
        first.insertion_event_id,
        ...first.event_ids,
        first.batch_event_id,
        first.base_insertion_event_id,
      ])
      expect(first.state_events).toEqual(first.state_event_ids)
      // A second request is another one.
      const { body: second } = await send({ chunk_id: first.next_chunk_id }, ['h1', 'h2'])
      expect(second.next_chunk_id).not.toBe(first.next_chunk_id)
      expect(textsOf(await readAll(alice, room.roomId, 'f'))).toEqual('a h1 h2 h3 h4 b'.split(' '))
    })
})

describe('in room versions of the specification', () => {
  for (const version of ['1', '6', '10', '11', '12'])
    test(`${version}: the creator puts in history, and nobody else`, async () => {
      const room = await talk({ room_version: version })
      await importer.batch(room.roomId, room.ids[0]!, ['h1', 'h2'], { senders: [maria] })
      expect(textsOf(await readAll(alice, room.roomId, 'f'))).toEqual(['a', 'h1', 'h2', 'b'])
      const path = `join/${encodeURIComponent(room.roomId)}?user_id=${encodeURIComponent(maria)}`
      await importer.do('POST', path, {})
      const { status, body } = await importer.send(
        room.roomId,
        `${queryOf(await alice.say(room.roomId, 'c'))}&user_id=${encodeURIComponent(maria)}`,
        batchOf(['h'], [maria]),
      )
      expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    })

  test('what ties history together is not redacted', async () => {
    const room = await talk()
    const sent = await importer.batch(room.roomId, room.ids[0]!, ['h1'], { senders: [maria] })
    const marked = await importer.mark(room.roomId, sent.base_insertion_event_id!)
    for (const id of [sent.insertion_event_id, sent.batch_event_id, marked]) {
      const path = `rooms/${encodeURIComponent(room.roomId)}/redact/${encodeURIComponent(id)}/${crypto.randomUUID()}`
      const { status, body } = await importer.ask('PUT', path, {})
      expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    }
  })

  test('what others said is redacted with the power for it alone, as the room has it by now', async () => {
    const { roomId: made, ids: said } = await talk()
    const room = `rooms/${encodeURIComponent(made)}`
    const redacting = (sender: string) => ({
      state_events_at_start: [joinOf(maria)],
      events: [{ ...messageOf('', sender), type: 'm.room.redaction', redacts: said[1] }],
    })
    const send = (sender: string) => importer.send(made, queryOf(said[0]!), redacting(sender))
    expect(await send(maria)).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } })
    expect(textsOf(await readAll(alice, made, 'f'))).toEqual(['a', 'b'])
    const levels = await alice.do('GET', `${room}/state/m.room.power_levels`)
    const users = { [alice.userId]: 100, [importer.userId]: 49 }
    await importer.do('PUT', `${room}/state/m.room.power_levels`, { ...levels, users })
    expect((await send(importer.userId)).status).toBe(403)
    expect(textsOf(await readAll(alice, made, 'f'))).toEqual(['a', 'b'])
    const back = { ...levels, users: { ...users, [importer.userId]: 50 } }
    await alice.do('PUT', `${room}/state/m.room.power_levels`, back)
    expect((await send(importer.userId)).status).toBe(200)
    const path = `${room}/event/${encodeURIComponent(said[1]!)}`
    expect((await alice.do('GET', path)).content).toEqual({})
  })

  test('whoever was put out of the room puts nothing into its past any more', async () => {
    const { roomId: made, ids: said } = await talk()
    const room = `rooms/${encodeURIComponent(made)}`
    const levels = await alice.do('GET', `${room}/state/m.room.power_levels`)
    const users = { [alice.userId]: 100, [importer.userId]: 50 }
    await importer.do('PUT', `${room}/state/m.room.power_levels`, { ...levels, users })
    await importer.batch(made, said[0]!, ['h'], { senders: [maria] })
    await alice.do('POST', `${room}/kick`, { user_id: importer.userId })
    const refused = await importer.send(made, queryOf(said[0]!), batchOf(['g'], [maria]))
    expect([refused.status, refused.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    expect(textsOf(await readAll(alice, made, 'f'))).toEqual(['a', 'h', 'b'])
  })

  test('two insertion events do not offer the same', async () => {
    const room = await talk()
    const sent = await importer.batch(room.roomId, room.ids[0]!, ['h1'], { senders: [maria] })
    const send = (id: string, txnId: string, room_id = room.roomId) =>
      importer.ask('PUT', `rooms/${encodeURIComponent(room_id)}/send/${insertion}/${txnId}`, {
        next_batch_id: id,
      })
    const again = await send(sent.next_batch_id, '1')
    expect([again.status, again.body.errcode]).toEqual([400, 'M_INVALID_PARAM'])
    expect((await send('mine', '2')).status).toBe(200)
    expect((await send('mine', '3')).status).toBe(400)
    // What others send means nothing, and so does what is in another room.
    const path = `rooms/${encodeURIComponent(room.roomId)}/send/${insertion}/4`
    expect((await alice.ask('PUT', path, { next_batch_id: 'mine' })).status).toBe(200)
    expect((await send('mine', '5', (await talk()).roomId)).status).toBe(200)
  })
})

describe.each(['org.matrix.msc2716v3', 'org.matrix.msc2716v4'])('in %s', (version) => {
  const key = (name: string) => (version.endsWith('3') ? `org.matrix.msc2716.${name}` : name)

  test('whoever has the power puts in history, and its links survive a redaction', async () => {
    const creator = await importer.ghost(`guest-${version.at(-1)}`)
    const as = `?user_id=${encodeURIComponent(creator)}`
    const { room_id: made } = await importer.do('POST', `createRoom${as}`, {
      preset: 'public_chat',
      room_version: version,
    })
    const room = encodeURIComponent(made)
    await importer.do('POST', `join/${room}`, {})
    await alice.do('POST', `join/${room}`, {})
    const a = await alice.say(made, 'a')
    await alice.say(made, 'b')
    const refused = await importer.send(made, queryOf(a), good())
    expect([refused.status, refused.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    const levels = await importer.do('GET', `rooms/${room}/state/m.room.power_levels${as}`)
    expect(levels.historical).toBe(100)
    await importer.do('PUT', `rooms/${room}/state/m.room.power_levels${as}`, {
      ...levels,
      historical: 0,
    })
    const c = await alice.say(made, 'c')
    await alice.say(made, 'd')
    const sent = await importer.batch(made, c, ['h1'], { senders: [maria] })
    const at = (id: string) => `rooms/${room}/event/${encodeURIComponent(id)}`
    const { content } = await alice.do('GET', at(sent.insertion_event_id))
    expect(content[key('next_batch_id')]).toBe(sent.next_batch_id)
    const path = `rooms/${room}/redact/${encodeURIComponent(sent.insertion_event_id)}/1`
    await importer.do('PUT', path, {})
    const { content: left } = await alice.do('GET', at(sent.insertion_event_id))
    expect(left).toEqual({ [key('next_batch_id')]: sent.next_batch_id })
    // What hangs on it still does.
    await importer.batch(made, c, ['h0'], { senders: [maria], batchId: sent.next_batch_id })
    expect(textsOf(await readAll(alice, made, 'f'))).toEqual(['a', 'b', 'c', 'h0', 'h1', 'd'])
    expect(await alice.ask('PUT', `rooms/${room}/state/${marker}/x`, {})).toMatchObject({
      status: 403,
    })
  })
})
