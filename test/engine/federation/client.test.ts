import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { RemoteError } from '#core/error.ts'
import { parseAuthorization, verifyRequest } from '#core/x-matrix.ts'
import type { FederationEngine } from '#engine/federation/engine.ts'
import type { OutgoingRequest } from '#engine/worker/protocol.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs, until } from '#test/until.ts'
import { Authority, Peer, startEngine, testOptions } from './peers.ts'

const db = await testDatabase()
let authority: Authority
let peer: Peer
let engine: FederationEngine

beforeAll(async () => {
  authority = await Authority.make()
  peer = new Peer('peer.test', '127.0.0.1', await authority.certify('peer.test'))
})
beforeEach(async () => {
  await engine?.stop()
  await db.pool`delete from destinations`
  peer.seen.length = 0
  peer.answer = (request) => peer.usual(request)
  engine = await startEngine(db.pool, testOptions('here.test', { peers: [peer], authority }))
})
afterAll(async () => {
  await engine.stop()
  await peer.stop()
  await authority.remove()
})

const ask = (change: Partial<OutgoingRequest> = {}): OutgoingRequest => ({
  destination: 'peer.test',
  method: 'GET',
  uri: '/_matrix/federation/v1/version',
  deadlineMs: patienceMs,
  maxBytes: 100_000,
  ...change,
})

async function failure(request: OutgoingRequest, of = engine): Promise<RemoteError> {
  const error: unknown = await of.request(request).catch((thrown: unknown) => thrown)
  if (!(error instanceof RemoteError)) throw new Error(`It did not fail: ${String(error)}`)
  return error
}

describe('a request', () => {
  test('is signed over the path as it travels and the body, and names both servers', async () => {
    const uri = "/_matrix/federation/v1/query/profile?user_id=%40a%27b:x.test&q='x'%2F"
    const body = '{"z":1,"a":{"é":[1,2,3]}}'
    await engine.request(ask({ method: 'PUT', uri, body }))
    const [seen] = peer.seen
    expect(seen!.host).toBe('peer.test')
    const header = parseAuthorization(seen!.authorization!)!
    expect(header.origin).toBe('here.test')
    expect(header.destination).toBe('peer.test')
    const own = await engine.keys(
      [{ server: 'here.test', keyIds: [header.keyId], minimumValidUntilTs: 0 }],
      patienceMs,
    )
    const signed = {
      method: 'PUT',
      uri: seen!.uri,
      origin: 'here.test',
      destination: 'peer.test',
      content: parseJson(seen!.body),
    }
    expect(verifyRequest(signed, header, own[0]!.key)).toBe(true)
    expect(verifyRequest({ ...signed, uri: '/other' }, header, own[0]!.key)).toBe(false)
  })

  test('carries no signature when it is for everybody', async () => {
    await engine.request(ask({ unsigned: true }))
    expect(peer.seen[0]!.authorization).toBeNull()
  })

  test('gives back what the server says, whatever the status', async () => {
    peer.answer = () => new Response('{"errcode":"M_FORBIDDEN"}', { status: 403 })
    expect(await engine.request(ask())).toEqual({ status: 403, body: '{"errcode":"M_FORBIDDEN"}' })
  })

  test('does not follow a redirect', async () => {
    peer.answer = () => new Response(null, { status: 302, headers: { location: '/elsewhere' } })
    expect((await engine.request(ask())).status).toBe(302)
    expect(peer.seen).toHaveLength(1)
  })

  test('ends at its deadline when the server never answers', async () => {
    peer.answer = () => new Promise(() => {})
    const error = await failure(ask({ deadlineMs: 100 }))
    expect(error.status).toBe(0)
    expect(error.message).toContain('did not answer within 100 ms')
  })

  test('ends at its deadline when the body never ends', async () => {
    peer.answer = () =>
      new Response(
        new ReadableStream({
          start: (stream) => stream.enqueue(new TextEncoder().encode('{"a":')),
        }),
      )
    expect((await failure(ask({ deadlineMs: 200 }))).status).toBe(0)
  })

  test('is given up when the answer grows too large, without reading it to its end', async () => {
    let sent = 0
    peer.answer = () =>
      new Response(
        new ReadableStream({
          async pull(stream) {
            sent += 65_536
            stream.enqueue(new Uint8Array(65_536))
            await Bun.sleep(1)
          },
        }),
      )
    const error = await failure(ask())
    expect(error.errcode).toBe('laneway.answer_too_large')
    expect(sent).toBeLessThan(50_000_000)
  })

  test('is given up when a small answer unpacks into a large one', async () => {
    peer.answer = () =>
      new Response(Bun.gzipSync(new Uint8Array(20_000_000)), {
        headers: { 'content-encoding': 'gzip' },
      })
    expect((await failure(ask())).errcode).toBe('laneway.answer_too_large')
  })

  test('is refused to a server with a certificate of another name', async () => {
    const other = new Peer('other.test', '127.0.0.1', await authority.certify('wrong.test'))
    const strict = await startEngine(
      db.pool,
      testOptions('here.test', { peers: [other], authority }),
    )
    const error = await failure(ask({ destination: 'other.test' }), strict)
    expect(error.message).toContain('ALTNAME')
    expect(other.seen).toHaveLength(0)
    await strict.stop()
    await other.stop()
  })

  test('is refused to a server with a certificate of an unknown authority', async () => {
    const strict = await startEngine(
      db.pool,
      testOptions('here.test', { peers: [peer], authority }, { extraAuthorities: [] }),
    )
    expect((await failure(ask(), strict)).message).toContain('certificate')
    expect(peer.seen).toHaveLength(0)
    await strict.stop()
  })

  test('to this server itself is refused', async () => {
    expect((await failure(ask({ destination: 'here.test' }))).message).toContain('no other server')
  })

  test('to what is no server name is refused', async () => {
    expect((await failure(ask({ destination: 'a b' }))).message).toContain('no other server')
  })
})

describe('a server that failed', () => {
  test('is left alone for a while, also after a restart', async () => {
    await engine.stop()
    const patient = testOptions(
      'here.test',
      { peers: [peer], authority },
      { retryMinMs: 60_000, retryMaxMs: 60_000 },
    )
    engine = await startEngine(db.pool, patient)
    peer.answer = () => new Response('', { status: 503 })
    expect((await engine.request(ask())).status).toBe(503)
    expect((await failure(ask())).errcode).toBe('laneway.backing_off')

    await engine.stop()
    engine = await startEngine(db.pool, patient)
    expect((await failure(ask())).errcode).toBe('laneway.backing_off')
    expect(peer.seen).toHaveLength(1)
  })

  test('is asked all the same when a user waits, and one answer clears its record', async () => {
    peer.answer = () => new Response('', { status: 502 })
    await engine.request(ask())
    peer.answer = (request) => peer.usual(request)
    expect((await engine.request(ask({ ignoreBackoff: true }))).status).toBe(404)
    expect((await engine.request(ask())).status).toBe(404)
  })

  test('is asked again soon once it made a good request itself', async () => {
    await engine.stop()
    const changed = { retryMinMs: 20, retryMaxMs: 3_600_000 }
    engine = await startEngine(
      db.pool,
      testOptions('here.test', { peers: [peer], authority }, changed),
    )
    peer.answer = () => new Response('', { status: 502 })
    for (let failures = 0; failures < 12; failures++) {
      await engine.request(ask({ ignoreBackoff: true }))
      await Bun.sleep(2)
    }
    expect((await failure(ask())).errcode).toBe('laneway.backing_off')
    engine.signal({ s: 'heard-from', servers: ['peer.test'] })
    await until(async () => (await engine.request(ask()).catch(() => undefined)) !== undefined)
  })

  test('is counted once for requests that hung side by side', async () => {
    peer.answer = async () => {
      await Bun.sleep(50)
      return new Response('', { status: 502 })
    }
    await Promise.all([1, 2, 3, 4, 5].map(() => engine.request(ask())))
    await engine.stop()
    const [row] = await db.pool`select failures from destinations where server = 'peer.test'`
    expect(row!['failures']).toBe(1)
  })
})

describe('a hundred dead servers', () => {
  test('leave the living their turn', async () => {
    const dead = new Peer('dead.test', '127.0.0.1', await authority.certify('*.dead.test'))
    dead.answer = () => new Promise(() => {})
    const names = Array.from({ length: 100 }, (_, index) => `a${index}.dead.test`)
    const options = testOptions('here.test', { peers: [peer], authority }, { maxInFlight: 16 })
    const crowded = await startEngine(db.pool, {
      ...options,
      staticDestinations: {
        ...options.staticDestinations,
        ...Object.fromEntries(names.map((name) => [name, dead.destination])),
      },
    })
    // It has answered before.
    await crowded.request(ask())
    const hanging = names.map((destination) =>
      crowded.request(ask({ destination })).catch(() => 'failed'),
    )
    const living = await Promise.race([
      Promise.all(Array.from({ length: 20 }, () => crowded.request(ask()))),
      Promise.all(hanging),
    ])
    expect(living).toHaveLength(20)
    expect(living[0]).toEqual(expect.objectContaining({ status: 404 }))
    await dead.stop()
    expect(new Set(await Promise.all(hanging))).toEqual(new Set(['failed']))
    await crowded.stop()
  })
})
