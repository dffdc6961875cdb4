import { afterAll, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { FederationEngine } from '#engine/federation/engine.ts'
import type { OutgoingRequest } from '#engine/worker/protocol.ts'
import { testDatabase } from '#test/database.ts'
import { Authority, Peer, startEngine, testOptions } from '#test/engine/federation/peers.ts'
import { until } from '#test/room-engine.ts'
import { patienceMs } from '#test/until.ts'
import { never } from './siege.ts'

const database = await testDatabase()
const authority = await Authority.make()
const certificate = await authority.certify('evil.test', 'good.test')
const evil = new Peer('evil.test', '127.0.0.1', certificate)
const good = new Peer('good.test', '127.0.0.1', certificate)
afterAll(async () => {
  await Promise.all([evil.stop(), good.stop()])
  await authority.remove()
})

const ask = (destination: string, change: Partial<OutgoingRequest> = {}): OutgoingRequest => ({
  destination,
  method: 'GET',
  uri: '/_matrix/federation/v1/version',
  deadlineMs: patienceMs,
  maxBytes: 100_000,
  ...change,
})

/** Bodies that bring a piece now and then, for ever; how many are still being sent. */
let open = 0
const endless = (piece: string, everyMs: number) => {
  let timer: ReturnType<typeof setInterval>
  open++
  const body = new ReadableStream<Uint8Array>({
    start: (stream) => {
      timer = setInterval(() => stream.enqueue(new TextEncoder().encode(piece)), everyMs)
    },
    cancel: () => {
      clearInterval(timer)
      open--
    },
  })
  return new Response(body, { headers: { 'content-type': 'application/json' } })
}

const slownesses: (() => Response | Promise<Response>)[] = [
  never,
  () => endless(' ', 10),
  () => endless('', 3_600_000),
]

async function withEngine(run: (engine: FederationEngine) => Promise<void>): Promise<void> {
  await database.pool`delete from destinations`
  const engine = await startEngine(
    database.pool,
    testOptions('here.test', { peers: [evil, good], authority }),
  )
  try {
    await run(engine)
  } finally {
    await engine.stop()
  }
}

const reasonOf = (error: unknown): string => {
  if (error instanceof RemoteError) return error.errcode
  throw error
}

test('answers that never come, trickle, or stop end at their deadline, and others come first', async () => {
  evil.answer = ({ uri }) => slownesses[Number(uri.at(-1))]!()
  await withEngine(async (engine) => {
    const order: string[] = []
    // More than may be in flight to one server: the rest waits for its turn.
    const slow = Array.from({ length: 30 }, (_, i) =>
      engine.request(ask('evil.test', { deadlineMs: 3_000, uri: `/slow/${i % 3}` })).then(
        () => 'answered',
        (error: unknown) => {
          order.push('evil')
          return reasonOf(error)
        },
      ),
    )
    await until(() => engine.counters()['federation_in_flight'] === 8)
    for (let each = 0; each < 3; each++) {
      await engine.request(ask('good.test'))
      order.push('good')
    }
    expect(order).toEqual(['good', 'good', 'good'])
    const reasons = await Promise.all(slow)
    expect(reasons).toEqual(slow.map(() => 'laneway.unreachable'))
    expect(engine.counters()).toMatchObject({ federation_in_flight: 0, federation_waiting: 0 })
  })
  // The connections are closed, not left to themselves.
  await until(() => open === 0)
})

test('an answer that never ends is given up where it is too large', async () => {
  evil.answer = () => endless('x'.repeat(20_000), 1)
  await withEngine(async (engine) => {
    const failed = await engine.request(ask('evil.test')).catch(reasonOf)
    expect(failed).toBe('laneway.answer_too_large')
    expect(engine.counters()).toMatchObject({ federation_in_flight: 0 })
  })
  await until(() => open === 0)
})

test('a key server that trickles its keys ends with the deadline, and shares one request', async () => {
  evil.answer = () => endless(' ', 10)
  evil.seen.length = 0
  await withEngine(async (engine) => {
    const wanted = { server: 'evil.test', keyIds: ['ed25519:x'], minimumValidUntilTs: 0 }
    let ended = 0
    const asking = Array.from({ length: 50 }, () =>
      engine.keys([wanted], 3_000).finally(() => ended++),
    )
    await until(() => evil.seen.length === 1)
    const key = { server: 'good.test', keyIds: [good.key.keyId], minimumValidUntilTs: 0 }
    expect(await engine.keys([key], patienceMs)).toHaveLength(1)
    expect(ended).toBe(0)
    for (const found of await Promise.all(asking)) expect(found).toEqual([])
    expect(evil.seen).toHaveLength(1)
  })
})
