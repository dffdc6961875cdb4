import { afterAll, expect, test } from 'bun:test'
import { authorizationHeader } from '#core/x-matrix.ts'
import * as transactions from '#api/server-server/transactions.ts'
import { Budget } from '#engine/federation/budget.ts'
import type { KnownKey } from '#engine/worker/protocol.ts'
import { here, Stage } from '#test/api/server-server/stage.ts'
import { plant } from '#test/api/server-server/plant.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  Authority,
  fixedDns,
  Peer,
  startEngine,
  testOptions,
} from '#test/engine/federation/peers.ts'
import { stored, until } from '#test/room-engine.ts'
import { patienceMs } from '#test/until.ts'
import { besiege, evil, good, mallory, never } from './siege.ts'

const database = await testDatabase()
const authority = await Authority.make()
afterAll(() => authority.remove())

/** A server whose key document says what a test wants. */
class Liar extends MadeUpServer {
  says: Partial<KnownKey> = {}
  override get knownKey() {
    return { ...super.knownKey, ...this.says }
  }
}

test('what is signed by the wrong key, or by a key that had expired, does not come in', async () => {
  const liar = new Liar('liar.test')
  const other = new MadeUpServer('other.test')
  await using siege = await besiege({ servers: [liar, other] })
  const { room, roomId, engine } = siege
  // Known here as an old key, that expired long before the events were sent.
  liar.says = { expiredTs: 1_000, validUntilTs: 1_000 }
  const late = new MadeUpRoom(room.version, liar).adopt(
    [...room.events.values()].map(({ event }) => event),
    room.heads,
  )
  const expired = late.make(liar.user('x'), 'm.room.message', { body: 'too late' })
  const wrong = Array.from({ length: 200 }, (_, i) =>
    room.say(mallory, `wrong ${i}`, { signedBy: other, aside: true }),
  )
  const right = room.say(mallory, 'right', { aside: true })
  await siege.attack([...wrong, expired, right].map(({ text }) => text))
  await siege.othersGoOn(() => true)
  await until(async () => (await stored(siege.database, roomId, right.event.eventId)) !== undefined)
  await until(() => engine.parts.counters.dropped === 201)
  for (const { event } of [...wrong.slice(0, 3), expired])
    expect(await stored(siege.database, roomId, event.eventId)).toBeUndefined()
  // The two that are good: carol's, and the one beside the forged.
  expect(engine.parts.counters.accepted).toBe(2)
})

test('two thousand events of two thousand servers whose keys never come hold up nobody', async () => {
  await using siege = await besiege({ limits: { keysMs: patienceMs } })
  const { engine, federation, room } = siege
  federation.keysGate = never()
  federation.askedKeys.length = 0
  const texts = Array.from({ length: 2_000 }, (_, i) => {
    const server = new MadeUpServer(`${i}.evil.test`)
    const theirs = new MadeUpRoom(room.version, server).adopt(
      [...room.events.values()].map(({ event }) => event),
      room.heads,
    )
    return theirs.make(server.user('x'), 'm.room.message', { body: 'x' }).text
  })
  await siege.attack(texts)
  await until(() => federation.askedKeys.length > 0)
  await siege.othersGoOn(async () => (await siege.inboxed()) === 2_000)
  // A few servers are asked, what is in memory is bounded, the rest waits in the inbox.
  expect(federation.askedKeys.length).toBeLessThanOrEqual(engine.parts.limits.prepare)
  const { laneEvents, prepare } = engine.parts.limits
  expect(engine.counters()['waiting']).toBeLessThanOrEqual(2 * laneEvents + prepare)
})

test('servers that hang cannot have all places to wait: those that answer get their turn', async () => {
  const budget = new Budget({
    perServer: 8,
    waitingPerServer: 200,
    total: 100,
    waitingTotal: 20_000,
  })
  const ended = new AbortController()
  let refused = 0
  const asked = Array.from({ length: 100_000 }, (_, i) =>
    budget.acquire(`${i}.evil.test`, true, ended.signal).catch(() => refused++),
  )
  await Bun.sleep(0)
  expect(budget.inFlight).toBe(50)
  expect(budget.waiting).toBe(15_000)
  const release = await budget.acquire(good.name, false, ended.signal)
  release()
  ended.abort(new Error('over'))
  // What is under way does not end by that.
  await Promise.all(asked)
  expect(refused).toBe(100_000 - 50)
  expect(budget.waiting).toBe(0)
})

test('100,000 unknown keys: requests are bounded, and another server’s key comes meanwhile', async () => {
  const peer = new Peer('good.test', '127.0.0.1', await authority.certify('good.test'))
  const options = testOptions(here, { peers: [peer], authority })
  const gone = Promise.withResolvers<never>()
  gone.promise.catch(() => {})
  const dns = { ...fixedDns({}), addresses: () => gone.promise, srv: () => gone.promise }
  const engine = await startEngine(database.pool, options, { dns })
  try {
    // It has answered before: a server in doubt would wait among the others.
    await engine.request({
      destination: 'good.test',
      method: 'GET',
      uri: '/_matrix/federation/v1/version',
      deadlineMs: patienceMs,
      maxBytes: 1_000,
    })
    let answered = false
    const wanted = Array.from({ length: 100_000 }, (_, i) => ({
      server: `${i}.evil.test`,
      keyIds: ['ed25519:none'],
      minimumValidUntilTs: 0,
    }))
    const asking = engine.keys(wanted, patienceMs).finally(() => (answered = true))
    const key = { server: 'good.test', keyIds: [peer.key.keyId], minimumValidUntilTs: 0 }
    const found = await engine.keys([key], patienceMs)
    expect(found).toHaveLength(1)
    expect(answered).toBe(false)
    const { federation_in_flight: inFlight, federation_waiting: waiting } = engine.counters()
    expect(inFlight).toBeLessThanOrEqual(options.maxInFlight)
    expect(waiting).toBeLessThanOrEqual(15_000)
    gone.reject(new Error('There is no such server'))
    expect(await asking).toEqual([])
  } finally {
    await engine.stop()
    await peer.stop()
  }
})

test('requests of servers nobody knows are refused beyond a bound, and known servers are let in', async () => {
  const room = MadeUpRoom.create('11', good.user('carol'), good)
  const stage = await Stage.open(database.pool, Object.values(transactions), [good])
  try {
    await plant(database.pool, stage.snapshots, room)
    const send = (from: MadeUpServer, txnId: string, text: string) =>
      stage.ask(from, 'PUT', `/_matrix/federation/v1/send/${txnId}`, {
        pdus: [JSON.parse(text) as object as never],
      })
    expect((await send(good, 'one', room.say(good.user('carol'), 'hello').text)).status).toBe(200)
    const gate = Promise.withResolvers<void>()
    stage.federation.keysGate = gate.promise
    const uri = '/_matrix/federation/v1/send/x'
    const signed = { method: 'PUT', uri, origin: evil.name, destination: here, content: {} }
    const header = authorizationHeader(signed, evil.key)
    const flood = Array.from({ length: 2_500 }, (_, i) =>
      stage.ask(evil, 'PUT', uri, {}, { header: header.replace('evil.test', `${i}.evil.test`) }),
    )
    const statuses: number[] = []
    for (const each of flood) void each.then(({ status }) => statuses.push(status))
    await until(() => statuses.length === 500)
    expect(new Set(statuses)).toEqual(new Set([503]))
    const { status } = await send(good, 'two', room.say(good.user('carol'), 'still here').text)
    expect(status).toBe(200)
    expect(statuses).toHaveLength(500)
    gate.resolve()
    await Promise.all(flood)
    expect(statuses.slice(500)).toEqual(Array.from({ length: 2_000 }, () => 401))
  } finally {
    await stage.close()
  }
})
