import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import type { FederationEngine } from '#engine/federation/engine.ts'
import * as outbox from '#store/federation/outbox.ts'
import * as outboxEdus from '#store/federation/outbox-edus.ts'
import * as outboxTxns from '#store/federation/outbox-txns.ts'
import { testDatabase } from '#test/database.ts'
import { Authority, Peer, startEngine, testOptions, until } from './peers.ts'
import { clearRooms, commitEvents, internServers, makeSet, testShard } from './rooms.ts'

const db = await testDatabase()
let authority: Authority
let peer: Peer
let second: Peer
let engine: FederationEngine | undefined
let nids: Map<string, number>
/** Here, the peer, the second. */
let all: number

beforeAll(async () => {
  authority = await Authority.make()
  peer = new Peer('peer.test', '127.0.0.1', await authority.certify('peer.test'))
  second = new Peer('second.test', '127.0.0.1', await authority.certify('second.test'))
  nids = await internServers(db.pool, ['here.test', 'peer.test', 'second.test', 'third.test'])
})
beforeEach(async () => {
  await clearRooms(db.pool)
  all = await makeSet(db.pool, setOf('here.test', 'peer.test', 'second.test'))
  for (const each of [peer, second]) {
    each.seen.length = 0
    each.answer = (request) => each.usual(request)
  }
})
afterEach(async () => {
  await engine?.stop()
  engine = undefined
})
afterAll(async () => {
  await Promise.all([peer.stop(), second.stop()])
  await authority.remove()
})

const setOf = (...names: string[]) => names.map((name) => nids.get(name)!)
const start = async (changed = {}) =>
  (engine = await startEngine(
    db.pool,
    testOptions('here.test', { peers: [peer, second], authority }, changed),
  ))

const sent = (to: Peer): number[] =>
  to.transactions.flatMap(({ pdus }) => (pdus as { n: number }[]).map(({ n }) => n))
const range = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => from + index)
const messages = (from: number, to: number, destinationSet: number | null = all, roomNid = 1) =>
  range(from, to).map((position) => ({ roomNid, position, destinationSet }))
const isEmpty = async () => (await outbox.pendingServers(db.pool)).length === 0

async function commit(events: Parameters<typeof commitEvents>[1]): Promise<void> {
  await commitEvents(db.pool, events)
  const last = Math.max(...events.map(({ position }) => position))
  engine?.signal({ s: 'rooms-at', positions: [[testShard, last]] })
}

describe('events', () => {
  test('reach every server of their set but this one, in their order', async () => {
    await start()
    await commit(messages(1, 3))
    await until(() => sent(peer).length === 3 && sent(second).length === 3)
    await until(isEmpty)
    expect(sent(peer)).toEqual([1, 2, 3])
    expect(sent(second)).toEqual([1, 2, 3])
    const [first] = peer.transactions
    expect(first!['origin']).toBe('here.test')
    expect(first!['edus']).toEqual([])
  })

  test('are sent fifty at a time', async () => {
    await commit(messages(1, 120))
    await start()
    await until(() => sent(peer).length === 120)
    expect(peer.transactions.map(({ pdus }) => (pdus as object[]).length)).toEqual([50, 50, 20])
    expect(sent(peer)).toEqual(range(1, 120))
  })

  test('that are rejected, soft-failed or for nobody are never sent', async () => {
    await start()
    await commit([
      { roomNid: 1, position: 1, destinationSet: all, flags: 1 },
      { roomNid: 1, position: 2, destinationSet: all, flags: 2 },
      { roomNid: 1, position: 3, destinationSet: null },
      { roomNid: 1, position: 4, destinationSet: all },
    ])
    await until(() => sent(peer).length > 0)
    await until(isEmpty)
    expect(sent(peer)).toEqual([4])
  })

  test('from before a server joined, and after it left, are not for it', async () => {
    const without = await makeSet(db.pool, [-nids.get('peer.test')!, nids.get('third.test')!], all)
    await commit([
      ...messages(1, 2, without),
      ...messages(3, 4, all),
      ...messages(5, 6, without),
      ...messages(7, 7, all),
    ])
    await start()
    await until(() => sent(second).length === 7)
    await until(() => sent(peer).length === 3)
    expect(sent(peer)).toEqual([3, 4, 7])
  })

  test('tell the server of an invited user that the invite is taken back', async () => {
    const here = await makeSet(db.pool, setOf('here.test'))
    const bob = { user: '@bob:peer.test', server: nids.get('peer.test')! }
    await start()
    await commit([
      {
        roomNid: 1,
        position: 1,
        destinationSet: here,
        member: { ...bob, before: null, after: 'invite' },
      },
      {
        roomNid: 1,
        position: 2,
        destinationSet: here,
        member: { ...bob, before: 'invite', after: 'leave' },
      },
    ])
    await until(() => sent(peer).length > 0)
    expect(sent(peer)).toEqual([2])
    expect(sent(second)).toEqual([])
  })

  test('that were redacted before they could be sent go out redacted', async () => {
    const message = (position: number, body: string) => ({
      roomNid: 1,
      position,
      destinationSet: all,
      json: JSON.stringify({ n: position, type: 'm.room.message', content: { body } }),
    })
    // Who judges others by it has to judge as all do.
    const levels = {
      ...message(3, ''),
      json: '{"n":3,"type":"m.room.power_levels","state_key":"","content":{"notifications":{}}}',
    }
    await commit([message(1, 'taken back'), message(2, 'stays'), levels])
    await db.pool`
      insert into rooms (shard, room_nid, room_id, version, kind)
      values (${testShard}, 1, '!redacted:here.test', '11', 'joined')`
    const redact = (position: number, applied: boolean) => db.pool`
      insert into redactions (shard, room_nid, target_id, redaction_nid, applied)
      select shard, room_nid, event_id, 9, ${applied} from events where position = ${position}`
    // A redaction that does not count takes nothing back.
    await redact(2, false)
    peer.answer = () => Response.json({}, { status: 500 })
    await start({ retryMinMs: 1, retryMaxMs: 10 })
    await until(() => peer.transactions.length > 0)
    await redact(1, true)
    await redact(3, true)
    peer.answer = (request) => peer.usual(request)
    await until(isEmpty)
    expect(JSON.stringify(peer.transactions.at(-1)!['pdus'])).toBe(
      `[{"content":{},"type":"m.room.message"},{"n":2,"type":"m.room.message","content":{"body":"stays"}},${levels.json}]`,
    )
  })

  test('of which nobody said that they are to be sent, are found a moment later', async () => {
    await start()
    await commitEvents(db.pool, [...messages(1, 2, null), ...messages(3, 3)])
    engine!.signal({ s: 'rooms-at', positions: [[testShard, 3]], sends: false })
    await until(() => sent(peer).length === 1 && sent(second).length === 1)
    expect([sent(peer), sent(second)]).toEqual([[3], [3]])
  })

  test('are not held up by what is not for us to send', async () => {
    await start()
    await commitEvents(db.pool, messages(1, 1, null))
    engine!.signal({ s: 'rooms-at', positions: [[testShard, 1]], sends: false })
    await commit(messages(2, 2))
    await until(() => sent(peer).length === 1)
    const [cursor] = (await outbox.cursors(db.pool)).filter(({ shard }) => shard === testShard)
    expect([sent(peer), cursor!.position]).toEqual([[2], 2])
  })

  test('whose signal was lost are found by looking', async () => {
    await start()
    await commitEvents(db.pool, messages(1, 1))
    await engine!.follower.look()
    await until(() => sent(peer).length === 1)
  })
})

describe('a transaction', () => {
  test('is repeated as it was, under the same ID, by the next run', async () => {
    await commit(messages(1, 3))
    peer.answer = () => new Promise(() => {})
    await start()
    await until(() => peer.transactions.length === 1)
    await engine!.stop()

    // More comes in between: it must wait for the next one.
    await commitEvents(db.pool, messages(4, 5))
    peer.answer = (request) => peer.usual(request)
    await db.pool`delete from destinations`
    await start()
    await until(() => sent(peer).length === 8)
    const [before, again, next] = peer.seen.filter(({ uri }) => uri.includes('/send/'))
    expect(again!.uri).toBe(before!.uri)
    expect(again!.body).toBe(before!.body)
    expect(next!.uri).not.toBe(before!.uri)
    await until(isEmpty)
  })

  test('is alone in flight to its server', async () => {
    let inFlight = 0
    let most = 0
    peer.answer = async () => {
      most = Math.max(most, ++inFlight)
      await Bun.sleep(10)
      inFlight--
      return Response.json({})
    }
    await start()
    for (const position of range(1, 8)) await commit(messages(position, position))
    await until(() => sent(peer).length === 8)
    expect(most).toBe(1)
    expect(sent(peer)).toEqual(range(1, 8))
  })

  test('that the server calls malformed does not hold up what follows', async () => {
    peer.answer = () => Response.json({ errcode: 'M_BAD_JSON' }, { status: 400 })
    await start()
    await commit(messages(1, 1))
    await until(() => sent(peer).length === 1)
    await until(isEmpty)
    peer.answer = (request) => peer.usual(request)
    await commit(messages(2, 2))
    await until(() => sent(peer).includes(2))
  })

  test('waits as long as the server asks for', async () => {
    peer.answer = () => Response.json({ retry_after_ms: 60_000 }, { status: 429 })
    await start({ retryMinMs: 1, retryMaxMs: 60_000 })
    await commit(messages(1, 1))
    await until(() => peer.transactions.length === 1)
    await until(() => sent(second).length === 1)
    await commit(messages(2, 2))
    await until(() => sent(second).length === 2)
    engine!.signal({ s: 'heard-from', servers: ['peer.test'] })
    expect(peer.transactions).toHaveLength(1)
  })
})

const edu = (n: number) => `{"edu_type":"m.direct_to_device","content":{"n":${n}}}`
const edusOf = (to: Peer) =>
  to.transactions.flatMap(({ edus }) =>
    (edus as { content: { n: number } }[]).map(({ content }) => content.n),
  )

describe('EDUs', () => {
  test('that must not be lost come before events, a hundred at a time, in their order', async () => {
    await outboxEdus.add(
      db.pool,
      range(1, 130).map((n) => ({ server: 'peer.test', json: edu(n) })),
    )
    await commit(messages(1, 1))
    await start()
    await until(() => edusOf(peer).length === 130)
    expect(edusOf(peer)).toEqual(range(1, 130))
    expect((peer.transactions[0]!['edus'] as object[]).length).toBe(100)
    await until(isEmpty)
    expect(sent(peer)).toEqual([1])
  })

  test('are sent at the signal of whoever put them in the queue', async () => {
    await start()
    await outboxEdus.add(db.pool, [{ server: 'second.test', json: edu(1) }])
    engine!.signal({ s: 'outbox', servers: ['second.test'] })
    await until(() => edusOf(second).length === 1)
    await until(isEmpty)
  })

  test('that may be lost are replaced by newer ones while they wait', async () => {
    let release = () => {}
    const held = new Promise<void>((resolve) => (release = resolve))
    peer.answer = async (request) => {
      await held
      return peer.usual(request)
    }
    await start()
    const type = (n: number, key = 'typing') =>
      engine!.signal({ s: 'edu', servers: ['peer.test', 'here.test'], key, edu: edu(n) })
    type(1)
    await until(() => peer.transactions.length === 1)
    type(2)
    type(3)
    type(4, 'presence')
    release()
    await until(() => edusOf(peer).length === 3)
    expect(edusOf(peer)).toEqual([1, 3, 4])
    expect(await outboxTxns.get(db.pool, 'peer.test')).toBeUndefined()
  })
})

describe('a server that was away', () => {
  test('does not hold up the others', async () => {
    peer.answer = () => new Promise(() => {})
    await start()
    await commit(messages(1, 1))
    await until(() => sent(second).length === 1)
    await commit(messages(2, 2))
    await until(() => sent(second).length === 2)
    expect(peer.transactions).toHaveLength(1)
  })

  test('gets short stretches whole, and of a long one the last event, that first', async () => {
    peer.answer = () => new Response('', { status: 502 })
    await start({ retryMinMs: 20, retryMaxMs: 3_600_000 })
    await commit(messages(1, 1, all, 2))
    await until(() => peer.transactions.length === 1)
    await until(() => second.transactions.length === 1)
    await commit(messages(2, 4, all, 1))
    await commit(messages(5, 304, all, 3))
    await until(() => sent(second).length === 304)

    const before = peer.transactions.length
    peer.answer = (request) => peer.usual(request)
    engine!.signal({ s: 'heard-from', servers: ['peer.test'] })
    await until(isEmpty)
    // The one that failed is repeated as it was; then comes all the rest in one.
    expect(peer.transactions.slice(before).map(({ pdus }) => (pdus as object[]).length)).toEqual([
      1, 4,
    ])
    expect(sent(peer).slice(before)).toEqual([1, 304, 2, 3, 4])
    const [lines] = await db.pool`select count(*) from outbox_events`
    expect(lines!['count']).toBe(304)
    await outbox.sweep(db.pool, 0, 0)
    expect((await db.pool`select 1 from outbox_events`).length).toBe(0)
  })

  test('gets what must not be lost after days, once and in order, whatever became of the events', async () => {
    const day = 86_400_000
    let now = Date.now()
    const restart = async () => {
      await engine?.stop()
      engine = await startEngine(
        db.pool,
        testOptions(
          'here.test',
          { peers: [peer, second], authority },
          { retryMinMs: 1_000, retryMaxMs: 3_600_000 },
        ),
        { clock: () => now },
      )
    }
    const put = (n: number) => outboxEdus.add(db.pool, [{ server: 'peer.test', json: edu(n) }])
    peer.answer = () => new Response('', { status: 502 })
    for (const n of [1, 2, 3]) await put(n)
    await commit(messages(1, 120))
    await restart()
    await until(() => peer.transactions.length === 1)
    await until(() => sent(second).length === 120)
    // Both sides are down for a day, and it is down for two more.
    for (const days of [1, 3]) {
      now += days * day + 3_600_000
      await put(3 + days)
      const before = peer.transactions.length
      await restart()
      await until(() => peer.transactions.length > before)
      await outbox.sweep(db.pool, now - day, now - 30 * day)
    }
    const before = peer.transactions.length
    peer.answer = (request) => peer.usual(request)
    now += 2 * 3_600_000
    await restart()
    await until(isEmpty)
    const got = peer.transactions.slice(before)
    expect(edusOf(peer).slice(-5)).toEqual([1, 2, 3, 4, 6])
    expect(got.flatMap(({ edus }) => edus as object[])).toHaveLength(5)
    expect(sent(peer).at(-1)).toBe(120)
  })

  test('is tried again by itself until it answers', async () => {
    let failures = 0
    peer.answer = (request) => {
      if (!request.uri.includes('/send/')) return peer.usual(request)
      return ++failures <= 3 ? new Response('', { status: 503 }) : peer.usual(request)
    }
    await start({ retryMinMs: 10, retryMaxMs: 20 })
    await commit(messages(1, 1))
    await until(() => sent(peer).length === 4)
    await until(isEmpty)
    expect(sent(peer)).toEqual([1, 1, 1, 1])
  })
})
