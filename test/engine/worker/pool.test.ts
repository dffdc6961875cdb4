import { afterAll, expect, test } from 'bun:test'
import { encodeBase64 } from '#core/base64.ts'
import { shardOf } from '#core/shard.ts'
import { takeOver } from '#store/room/shards.ts'
import { RoomPool, type PoolOptions } from '#engine/worker/pool.ts'
import type { Signal } from '#engine/worker/protocol.ts'
import { MadeUpFederation, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  createRoom,
  deliver,
  inboxIsEmpty,
  insist,
  joinFrom,
  say,
  store,
  stored,
  until,
  us,
} from '#test/room-engine.ts'

const database = await testDatabase()
const there = new MadeUpServer('there.test')
const mallory = there.user('mallory')
const pools: RoomPool[] = []
afterAll(() => Promise.all(pools.map((pool) => pool.stop())))

const failureOf = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  )

/** Real workers on the test's database. */
async function open(changes: Partial<PoolOptions> = {}) {
  const signals: Signal[] = []
  const faults: string[] = []
  const federation = new MadeUpFederation(us, there)
  const pool = new RoomPool({
    workers: 2,
    shards: 64,
    entry: new URL('../../../src/room-worker.ts', import.meta.url).href,
    start: {
      databaseUrl: database.url,
      connections: 3,
      owner: 'test',
      serverName: us.name,
      signingKey: { keyId: us.key.keyId, seed: encodeBase64(us.key.seed) },
      limits: {},
      log: { level: 'silent', format: 'json' },
    },
    federation,
    onSignal: (signal) => signals.push(signal),
    onFault: (error, where) => faults.push(`${where}: ${error.message}`),
    restartMs: 10,
    ...changes,
  })
  pools.push(pool)
  await pool.start()
  return { rooms: pool, pool, signals, faults, federation }
}

/** Takes a shard from its worker, which must not write any more then, and so ends. */
const endOwnerOf = (roomId: string) => takeOver(database.pool, [shardOf(roomId)], 'a thief')

test('rooms are made and written by the workers that own their shards, and readers are told', async () => {
  const stage = await open()
  const rooms = await Promise.all(Array.from({ length: 6 }, () => createRoom(stage)))
  const landed = await Promise.all(rooms.map((roomId) => say(stage, roomId, 'hello')))
  for (const [index, roomId] of rooms.entries()) {
    expect(landed[index]!.shard).toBe(shardOf(roomId))
    expect(await stored(database, roomId, landed[index]!.eventId)).toMatchObject({ flags: 0 })
  }
  const told = new Map<number, number>()
  for (const signal of stage.signals)
    if (signal.s === 'rooms-at')
      for (const [shard, position] of signal.positions) told.set(shard, position)
  for (const { shard, position } of landed) expect(told.get(shard)).toBeGreaterThanOrEqual(position)
  const counters = await stage.pool.counters()
  expect(counters.get('local')).toBe(6 * 6 + 6)
  await stage.pool.stop()
  expect(stage.faults).toEqual([])
})

test('errors for clients come over as themselves', async () => {
  const stage = await open()
  const roomId = await createRoom(stage)
  expect(await failureOf(say(stage, roomId, 'hello', us.user('nobody')))).toMatchObject({
    status: 403,
    errcode: 'M_FORBIDDEN',
  })
  expect(await failureOf(say(stage, '!nowhere:us.test', 'hello'))).toMatchObject({ status: 404 })
  await stage.pool.stop()
})

test('a worker asks other servers through the main thread', async () => {
  const stage = await open()
  const roomId = await createRoom(stage)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  expect(stage.federation.askedKeys.map(({ server }) => server)).toContain('there.test')
  const said = room.say(mallory, 'hello')
  await deliver(stage, database, roomId, there, [said.text])
  await until(inboxIsEmpty(database, roomId))
  expect(await stored(database, roomId, said.event.eventId)).toMatchObject({ flags: 0 })
  await stage.pool.stop()
})

test('a worker that dies is restarted: nothing that was answered is lost, its lanes resume', async () => {
  const stage = await open()
  const roomId = await createRoom(stage)
  const elsewhere = await otherOwner(stage, roomId)
  const room = await joinFrom(stage, database, roomId, there, 'mallory')
  const answered: string[] = []
  const sends = Array.from({ length: 20 }, async (_, i) => {
    const landed = await say(stage, roomId, `${i}`).catch((error: unknown) => error)
    if (landed instanceof Error) expect(landed).toMatchObject({ status: 503 })
    else answered.push((landed as { eventId: string }).eventId)
  })
  const waiting = Array.from({ length: 5 }, (_, i) => room.say(mallory, `inbound ${i}`))
  // In the inbox, and nobody was told before the worker died.
  await store(
    database,
    roomId,
    there,
    waiting.map(({ text }) => text),
  )
  await endOwnerOf(roomId)
  await Promise.all(sends)
  // The other worker notices nothing.
  await say(stage, elsewhere, 'all quiet here')
  // That it ends may become known with this one only.
  const after = await insist(() => say(stage, roomId, 'back again'))
  await until(inboxIsEmpty(database, roomId))
  for (const { event } of waiting)
    expect(await stored(database, roomId, event.eventId)).toMatchObject({ flags: 0 })
  for (const eventId of answered)
    expect(await stored(database, roomId, eventId)).toMatchObject({ flags: 0 })
  expect((await adopt(database, roomId, there)).heads.length).toBeGreaterThan(0)
  expect(after.position).toBeGreaterThan(0)
  expect(stage.faults.some((fault) => fault.includes('restarts'))).toBe(true)
  await stage.pool.stop()
})

/** A room that the other worker owns. */
async function otherOwner(
  stage: Awaited<ReturnType<typeof open>>,
  roomId: string,
): Promise<string> {
  for (;;) {
    const other = await createRoom(stage)
    if (shardOf(other) % 2 !== shardOf(roomId) % 2) return other
  }
}

test('a pool that stops answers what was decided, and refuses the rest', async () => {
  const stage = await open()
  const roomId = await createRoom(stage)
  const landed = await say(stage, roomId, 'last')
  await stage.pool.stop()
  expect(await failureOf(say(stage, roomId, 'too late'))).toMatchObject({ status: 503 })
  expect(await stored(database, roomId, landed.eventId)).toMatchObject({ flags: 0 })
})

test('a worker that cannot start says why', async () => {
  const stage = open({
    start: {
      databaseUrl: 'postgres://nobody@localhost/nowhere?host=/dev/null/nowhere',
      connections: 1,
      owner: 'test',
      serverName: us.name,
      signingKey: { keyId: us.key.keyId, seed: encodeBase64(us.key.seed) },
      limits: {},
      log: { level: 'silent', format: 'json' },
    },
  })
  expect(String(await failureOf(stage))).toMatch(/ENOENT|ENOTDIR|ECONNREFUSED|FailedToOpenSocket/)
})
