import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { authorizationHeader } from '#core/x-matrix.ts'
import type { Json, JsonObject } from '#core/json.ts'
import * as transactions from '#api/server-server/transactions.ts'
import type { InboxEntry } from '#engine/worker/protocol.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { Device } from '#test/device.ts'
import { until } from '#test/until.ts'
import { plant, uproot } from './plant.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const other = new MadeUpServer('other.test')
const alice = peer.user('alice')
let stage: Stage
let room: MadeUpRoom

beforeEach(async () => {
  const more = ['pending_joins', 'to_device', 'remote_devices']
  await uproot(db.pool, 'inbox', 'inbound_txns', ...more)
  room = MadeUpRoom.create('11', alice, peer, other)
  stage = await Stage.open(db.pool, Object.values(transactions), [peer, other])
})
afterEach(() => stage.close())

type Wish = { edus?: Json[]; txnId?: string; from?: MadeUpServer }
const send = (pdus: readonly string[], { from = peer, ...wish }: Wish = {}) =>
  stage.send(from, pdus, wish)
const inbox = () => stage.inbox()

describe('a transaction', () => {
  test('is durable before it is answered, and its events go to the owner of their room', async () => {
    await plant(db.pool, stage.snapshots, room)
    const texts = ['one', 'two', 'three'].map((body) => room.say(alice, body))
    const { status, body } = await send(texts.map(({ text }) => text))
    expect(status).toBe(200)
    expect(body).toEqual({
      pdus: Object.fromEntries(texts.map(({ event }) => [event.eventId, {}])),
    })
    const rows = await inbox()
    expect(rows.map(({ json }) => JSON.parse(json) as JsonObject)).toEqual(
      texts.map(({ text }) => JSON.parse(text) as JsonObject),
    )
    const [roomId, entries] = stage.rooms.of('receive')[0] as [string, InboxEntry[]]
    expect(roomId).toBe(room.roomId)
    expect(entries.map(({ json }) => json)).toEqual(rows.map(({ json }) => json))
    expect(entries.every(({ origin }) => origin === 'peer.test')).toBe(true)
  })

  test('that is repeated gets the answer it got, and doubles nothing', async () => {
    await plant(db.pool, stage.snapshots, room)
    const { text } = room.say(alice, 'hello')
    const first = await send([text], { txnId: 'again' })
    const second = await send([text], { txnId: 'again' })
    expect(second).toEqual(first)
    expect(await inbox()).toHaveLength(1)
    // Another server may use the same ID.
    await send([text], { txnId: 'again', from: other })
    expect(await inbox()).toHaveLength(2)
  })

  test('is not answered while the inbox cannot be written', async () => {
    await plant(db.pool, stage.snapshots, room)
    const unlock = await stage.lockInbox()
    const answer = send([room.say(alice, 'hello').text])
    const early = await Promise.race([answer, Bun.sleep(100).then(() => 'waits')])
    expect(early).toBe('waits')
    await unlock()
    expect((await answer).status).toBe(200)
  })

  test('does not wait for the work of any room', async () => {
    await plant(db.pool, stage.snapshots, room)
    stage.rooms.answers.receive = () => new Promise(() => {})
    expect((await send([room.say(alice, 'hello').text])).status).toBe(200)
  })

  test('is answered although the owner of a room is away', async () => {
    await plant(db.pool, stage.snapshots, room)
    stage.rooms.answers.receive = () => Promise.reject(new Error('It died'))
    expect((await send([room.say(alice, 'hello').text])).status).toBe(200)
    expect(await inbox()).toHaveLength(1)
  })

  test('names what it refuses, and takes the rest', async () => {
    await plant(db.pool, stage.snapshots, room)
    const good = room.say(alice, 'good')
    const tooManyParents = room.make(
      alice,
      'm.room.message',
      {},
      {
        after: (pdu) => (pdu['prev_events'] = Array.from({ length: 21 }, () => good.event.eventId)),
      },
    )
    const { status, body } = await send([
      JSON.stringify('no object'),
      JSON.stringify({ room_id: room.roomId, type: 7 }),
      tooManyParents.text,
      MadeUpRoom.create('11', other.user('x'), other).say(other.user('x'), 'unknown').text,
      good.text,
    ])
    expect(status).toBe(200)
    expect(body).toEqual({ pdus: { [good.event.eventId]: {} } })
    expect(await inbox()).toHaveLength(1)
  })

  test('keeps the digits of numbers and odd keys as they came', async () => {
    const old = MadeUpRoom.create('3', alice, peer)
    await plant(db.pool, stage.snapshots, old)
    const { text } = old.say(alice, 'hello')
    const odd = text.replace(
      '"msgtype":"m.text"',
      '"__proto__":{"a":1},"n":1.50,"big":1e30,"z":"\\u0000"',
    )
    const body = `{"origin":"peer.test","pdus":[${odd}]}`
    const uri = '/_matrix/federation/v1/send/odd'
    const { parseJson } = await import('#core/canonical-json.ts')
    const signed = {
      method: 'PUT',
      uri,
      origin: 'peer.test',
      destination: here,
      content: parseJson(body)!,
    }
    const header = authorizationHeader(signed, peer.key)
    const { status } = await stage.ask(peer, 'PUT', uri, undefined, { header, body })
    expect(status).toBe(200)
    const [row] = await inbox()
    expect(row!.json).toContain('"__proto__":{"a":1},"n":1.50,"big":1e30,"z":"\\u0000"')
  })

  test('with more than it may hold is refused whole', async () => {
    await plant(db.pool, stage.snapshots, room)
    const { text } = room.say(alice, 'hello')
    const many = await send(Array.from({ length: 51 }, () => text))
    expect([many.status, many.body['errcode']]).toEqual([400, 'M_BAD_JSON'])
    const edus = Array.from({ length: 101 }, () => ({ edu_type: 'm.typing', content: {} }))
    expect((await send([], { edus })).status).toBe(400)
    expect(await inbox()).toHaveLength(0)
  })

  test('with more bytes than fifty events may have is not read to its end', async () => {
    await plant(db.pool, stage.snapshots, room)
    const { text } = room.say(alice, 'hello')
    const padded = `{"pdus":[${text}],"x":"${'x'.repeat(11 * 1024 * 1024)}"}`
    const header = authorizationHeader(
      {
        method: 'PUT',
        uri: '/_matrix/federation/v1/send/big',
        origin: peer.name,
        destination: here,
      },
      peer.key,
    )
    const uri = '/_matrix/federation/v1/send/big'
    const { status, body } = await stage.ask(peer, 'PUT', uri, undefined, { header, body: padded })
    expect([status, body['errcode']]).toEqual([413, 'M_TOO_LARGE'])
    expect(await inbox()).toHaveLength(0)
  })

  test('without a list of events is refused', async () => {
    const answer = await stage.ask(peer, 'PUT', '/_matrix/federation/v1/send/x', {
      origin: 'peer.test',
    })
    expect([answer.status, answer.body['errcode']]).toEqual([400, 'M_BAD_JSON'])
  })
})

describe('a room', () => {
  test('whose access list does not let the sender in takes nothing of it', async () => {
    room.add(alice, 'm.room.server_acl', { allow: ['*'], deny: ['other.test'] }, { stateKey: '' })
    await plant(db.pool, stage.snapshots, room)
    const { event, text } = room.say(alice, 'hello')
    const { body } = await send([text], { from: other })
    expect(body).toEqual({
      pdus: { [event.eventId]: { error: 'The server is not allowed in the room' } },
    })
    expect(await inbox()).toHaveLength(0)
    await send([text])
    expect(await inbox()).toHaveLength(1)
  })

  test('that a join is on its way to takes everything', async () => {
    await db.pool`
      insert into pending_joins (shard, room_id, user_id, version, event, via, created_at)
      values (1, ${room.roomId}, ${`@me:${here}`}, '11', '{}', '{}', 1)`
    await send([room.say(alice, 'hello').text])
    expect(await inbox()).toHaveLength(1)
  })

  test('that all of our users have left takes no more than that, until one comes back (continuwuity 26.7.2)', async () => {
    await plant(db.pool, stage.snapshots, room)
    const setJoined = (joined: number) => db.pool`
      with own as (
        insert into servers (name) values (${here})
        on conflict (name) do update set name = excluded.name returning server_nid
      )
      insert into room_servers (shard, room_nid, server_nid, joined)
      select r.shard, r.room_nid, own.server_nid, ${joined} from rooms r, own
      where r.room_id = ${room.roomId}
      on conflict (shard, room_nid, generation, server_nid) do update set joined = excluded.joined`
    await setJoined(0)
    const unheard = room.say(alice, 'unheard')
    const ours = room.member(alice, `@me:${here}`, 'ban')
    const left = await send([unheard.text, ours.text])
    expect(left.body['pdus']).toEqual({
      [unheard.event.eventId]: { error: 'The room is unknown' },
      [ours.event.eventId]: {},
    })
    expect(await inbox()).toHaveLength(1)
    // A join is on its way: what comes now may be lacking in its state.
    await db.pool`
      insert into pending_joins (room_id, user_id, shard, version, event, via, created_at)
      values (${room.roomId}, ${`@me:${here}`}, 0, '11', '{}', '{}', 1)`
    const [again] = Object.values((await send([room.say(alice, 'again').text])).body['pdus']!)
    expect(again).toEqual({} as never)
    await db.pool`truncate pending_joins`
    await setJoined(1)
    await send([room.say(alice, 'heard').text])
    expect(await inbox()).toHaveLength(3)
  })

  test('that we only know from outside takes what becomes of our own users', async () => {
    await plant(db.pool, stage.snapshots, room, { kind: 'outside' })
    const ours = room.member(alice, `@me:${here}`, 'leave')
    const theirs = room.member(alice, '@you:third.test', 'leave')
    const { body } = await send([ours.text, theirs.text, room.say(alice, 'hello').text])
    expect((body['pdus'] as JsonObject)[ours.event.eventId]).toEqual({})
    expect((body['pdus'] as JsonObject)[theirs.event.eventId]).toEqual({
      error: 'The room is unknown',
    })
    expect(await inbox()).toHaveLength(1)
  })
})

describe('a server', () => {
  test('has one transaction in flight; an impatient repetition shares its answer', async () => {
    await plant(db.pool, stage.snapshots, room)
    const { text } = room.say(alice, 'hello')
    const [first, same, next] = await Promise.all([
      send([text], { txnId: 'a' }),
      send([text], { txnId: 'a' }),
      send([text], { txnId: 'b' }),
    ])
    expect(same).toEqual(first)
    expect([next.status, next.body['errcode']]).toEqual([429, 'M_LIMIT_EXCEEDED'])
    expect(next.body['retry_after_ms']).toBeNumber()
    expect(await inbox()).toHaveLength(1)
  })

  test('that floods is told to wait, and others are not', async () => {
    await stage.close()
    stage = await Stage.open(db.pool, Object.values(transactions), [peer, other], {
      pdusPerSecond: 1,
      pdusAtOnce: 2,
    })
    await plant(db.pool, stage.snapshots, room)
    const texts = Array.from({ length: 4 }, (_, index) => room.say(alice, `${index}`).text)
    expect((await send(texts)).status).toBe(200)
    const { status, body } = await send(texts)
    expect([status, body['errcode']]).toEqual([429, 'M_LIMIT_EXCEEDED'])
    expect(body['retry_after_ms'] as number).toBeGreaterThan(0)
    expect((await send(texts, { from: other })).status).toBe(200)
  })

  test('is told to wait while the event loop is late', async () => {
    await stage.close()
    stage = await Stage.open(db.pool, Object.values(transactions), [peer], { maxLagMs: -1 })
    expect((await send([])).status).toBe(429)
  })
})

describe('EDUs', () => {
  const toDevice = (user: string, messageId = 'm1', sender = alice) => ({
    edu_type: 'm.direct_to_device',
    content: {
      sender,
      type: 'm.test',
      message_id: messageId,
      messages: { [user]: { '*': { secret: 1 } } },
    },
  })
  const stored = () =>
    db.pool<{ user_id: string; device_id: string; sender: string }[]>`
      select user_id, device_id, sender from to_device`

  beforeEach(async () => {
    await db.pool`truncate users, devices, received_messages`
    const { ctx } = stage
    await ctx.users.call('createUser', `@bob:${here}`, { admin: false, createdAt: 1 })
    await ctx.users.call('createSession', `@bob:${here}`, {
      deviceId: 'D',
      tokenHash: crypto.getRandomValues(new Uint8Array(32)),
      createdAt: 1,
    })
  })

  test('to devices are stored for local users once, however often they come', async () => {
    const edus = [toDevice(`@bob:${here}`), toDevice('@bob:elsewhere.test', 'm2')]
    await send([], { edus })
    await send([], { edus })
    expect([...(await stored())]).toEqual([
      { user_id: `@bob:${here}`, device_id: 'D', sender: alice },
    ])
  })

  test('in the name of another server have no effect (Synapse 1.157.2)', async () => {
    await send([], { edus: [toDevice(`@bob:${here}`, 'm3', other.user('eve'))] })
    expect(await stored()).toHaveLength(0)
  })

  test('of device lists are noted if a room is shared, and are else nothing to us', async () => {
    const { keys } = new Device({ userId: alice, deviceId: 'X' })
    const content = { user_id: alice, device_id: 'X', stream_id: 5, prev_id: [], keys }
    const edus = [{ edu_type: 'm.device_list_update', content }]
    const lists = () => db.pool`select user_id, stream_id from remote_device_lists`
    await db.pool`truncate remote_device_lists, memberships`
    await send([], { edus })
    expect(await lists()).toHaveLength(0)
    await plant(db.pool, stage.snapshots, room)
    await db.pool`insert into servers (name) values (${here}) on conflict do nothing`
    await db.pool`
      insert into room_servers (shard, room_nid, server_nid, joined)
      select r.shard, r.room_nid, s.server_nid, 1 from rooms r, servers s
      where r.room_id = ${room.roomId} and s.name = ${here}
      on conflict do nothing`
    await send([], { edus })
    expect([...(await lists())]).toEqual([{ user_id: alice, stream_id: 5 }])
  })

  test('are stored although the events that they come with have to wait', async () => {
    await stage.close()
    stage = await Stage.open(db.pool, Object.values(transactions), [peer], {
      pdusPerSecond: 1,
      pdusAtOnce: 1,
    })
    await plant(db.pool, stage.snapshots, room)
    const texts = Array.from({ length: 3 }, (_, index) => room.say(alice, `${index}`).text)
    expect((await send(texts)).status).toBe(200)
    const edus = [toDevice(`@bob:${here}`, 'flood')]
    for (let times = 0; times < 2; times++)
      expect((await send(texts, { edus, txnId: 'flooding' })).status).toBe(429)
    expect(await stored()).toHaveLength(1)
    expect(await inbox()).toHaveLength(3)
  })

  test('are stored although the inbox cannot be written', async () => {
    await plant(db.pool, stage.snapshots, room)
    const unlock = await stage.lockInbox()
    const answer = send([room.say(alice, 'hello').text], { edus: [toDevice(`@bob:${here}`)] })
    await until(async () => (await stored()).length > 0)
    await unlock()
    expect((await answer).status).toBe(200)
  })
})
