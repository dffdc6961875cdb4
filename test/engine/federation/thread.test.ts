import { afterAll, beforeAll, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { FederationThread } from '#engine/federation/thread.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs, until } from '#test/until.ts'
import { Authority, Peer, testOptions } from './peers.ts'
import { commitEvents, internServers, makeSet, testShard } from './rooms.ts'

const db = await testDatabase()
let authority: Authority
let peer: Peer
let thread: FederationThread
const faults: string[] = []

const open = (retryMinMs = 50) =>
  new FederationThread({
    entry: new URL('../../../src/federation-worker.ts', import.meta.url).href,
    start: {
      databaseUrl: db.url,
      connections: 4,
      options: testOptions('here.test', { peers: [peer], authority }, { retryMinMs }),
      log: { level: 'silent', format: 'json' },
    },
    onFault: (error) => faults.push(error.message),
    restartMs: 10,
  })

beforeAll(async () => {
  authority = await Authority.make()
  peer = new Peer('peer.test', '127.0.0.1', await authority.certify('peer.test'))
  thread = open()
  await thread.start()
})
afterAll(async () => {
  await thread.stop()
  await peer.stop()
  await authority.remove()
})

const request = (destination = 'peer.test', deadlineMs = patienceMs) =>
  thread.call('request', {
    destination,
    method: 'GET',
    uri: '/_matrix/federation/v1/version',
    deadlineMs,
    maxBytes: 10_000,
  })

test('a request of another thread is answered, and a failure crosses as itself', async () => {
  expect((await request()).status).toBe(404)
  const error: unknown = await request('gone.invalid').catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(RemoteError)
  expect((error as RemoteError).server).toBe('gone.invalid')
})

test('keys and signals cross', async () => {
  const wanted = [{ server: 'peer.test', keyIds: [peer.key.keyId], minimumValidUntilTs: 0 }]
  expect(await thread.call('keys', wanted, patienceMs)).toHaveLength(1)
  expect(await thread.call('keyDocuments', wanted, patienceMs)).toHaveLength(1)

  const nids = await internServers(db.pool, ['here.test', 'peer.test'])
  const set = await makeSet(db.pool, [...nids.values()])
  await commitEvents(db.pool, [{ roomNid: 1, position: 1, destinationSet: set }])
  thread.signal({ s: 'rooms-at', positions: [[testShard, 1]] })
  await until(() => peer.transactions.length === 1)
  await until(async () => (await thread.counters())['outbox_queues'] === 0)
})

test('what was in flight when the server stopped is sent by the next one, the same again', async () => {
  peer.seen.length = 0
  peer.answer = () => new Promise(() => {})
  const nids = await internServers(db.pool, ['here.test', 'peer.test'])
  const set = await makeSet(db.pool, [...nids.values()])
  await commitEvents(db.pool, [{ roomNid: 1, position: 2, destinationSet: set }])
  thread.signal({ s: 'rooms-at', positions: [[testShard, 2]] })
  await until(() => peer.transactions.length === 1)
  await thread.stop()
  expect(await request().catch(() => 'refused')).toBe('refused')

  peer.answer = (seen) => peer.usual(seen)
  await db.pool`delete from destinations`
  thread = open()
  await thread.start()
  await until(() => peer.transactions.length === 2)
  const [first, second] = peer.seen.filter(({ uri }) => uri.includes('/send/'))
  expect([second!.uri, second!.body]).toEqual([first!.uri, first!.body])
})

test('one that cannot start says so', async () => {
  const broken = new FederationThread({
    entry: new URL('../../../src/federation-worker.ts', import.meta.url).href,
    start: {
      databaseUrl: db.url.replace(/\/laneway[^?]*/, '/does_not_exist'),
      connections: 1,
      options: testOptions('here.test', { peers: [], authority }),
      log: { level: 'silent', format: 'json' },
    },
    onFault: () => {},
  })
  const error: unknown = await broken.start().catch((thrown: unknown) => thrown)
  expect(error).toBeInstanceOf(Error)
  await broken.stop()
})

test('one that dies is started again, and its calls are refused at once', async () => {
  const told: string[] = []
  const dying = new FederationThread({
    entry: new URL('./dying-worker.ts', import.meta.url).href,
    start: {
      databaseUrl: db.url,
      connections: 1,
      options: testOptions('here.test', { peers: [], authority }),
      log: { level: 'silent', format: 'json' },
    },
    onFault: (error) => told.push(error.message),
    restartMs: 10,
  })
  await dying.start()
  const wanted = [{ server: 'peer.test', keyIds: [], minimumValidUntilTs: 0 }]
  expect(await dying.call('keys', wanted, patienceMs)).toEqual([])
  // It ends with this call.
  expect(await dying.call('keyDocuments', wanted, patienceMs).catch(() => 'refused')).toBe(
    'refused',
  )
  await until(
    async () => (await dying.call('keys', wanted, patienceMs).catch(() => undefined)) !== undefined,
  )
  expect(told.some((message) => message.includes('restarts'))).toBe(true)
  await dying.stop()
})
