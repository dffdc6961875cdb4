import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import type { FederationEngine, FederationParts } from '#engine/federation/engine.ts'
import { RemoteError } from '#core/error.ts'
import { testDatabase } from '#test/database.ts'
import { patienceMs } from '#test/until.ts'
import { Authority, fixedDns, Peer, startEngine, testOptions } from './peers.ts'

/**
 * Each server listens on a port and an address of its own; the name system of a test leads to them.
 * All of them serve well-known files too, on the port that stands in for 443.
 */
const db = await testDatabase()
let authority: Authority
let target: Peer
let engine: FederationEngine | undefined
const opened: Peer[] = []

beforeAll(async () => {
  authority = await Authority.make()
  target = await open('127.0.0.2', ['named.test', 'delegated.test', '127.0.0.2'])
})
beforeEach(async () => {
  await engine?.stop()
  engine = undefined
  await db.pool`delete from destinations`
  for (const peer of opened) peer.seen.length = 0
})
afterAll(async () => {
  await engine?.stop()
  await Promise.all(opened.map((peer) => peer.stop()))
  await authority.remove()
})

async function open(address: string, names: string[]): Promise<Peer> {
  const peer = new Peer(names[0]!, address, await authority.certify(...names))
  opened.push(peer)
  return peer
}

async function start(more: Partial<FederationParts>, changed = {}): Promise<FederationEngine> {
  await engine?.stop()
  engine = await startEngine(
    db.pool,
    testOptions(
      'here.test',
      { peers: [], authority },
      { retryMinMs: 1, retryMaxMs: 1, ...changed },
    ),
    more,
  )
  return engine
}

const version = (destination: string) =>
  engine!.request({
    destination,
    method: 'GET',
    uri: '/_matrix/federation/v1/version',
    deadlineMs: patienceMs,
    maxBytes: 10_000,
    ignoreBackoff: true,
  })

async function reason(destination: string): Promise<string> {
  const error: unknown = await version(destination).catch((thrown: unknown) => thrown)
  if (!(error instanceof RemoteError)) throw new Error(`It did not fail: ${String(error)}`)
  return error.message
}

describe('a server name', () => {
  test('that is an IP literal with a port is dialled, and its certificate is for the address', async () => {
    await start({})
    await version(`127.0.0.2:${target.port}`)
    expect(target.seen[0]!.host).toBe(`127.0.0.2:${target.port}`)
  })

  test('that is an IP literal is refused when the certificate is for another address', async () => {
    const other = await open('127.0.0.3', ['127.0.0.2'])
    await start({})
    expect(await reason(`127.0.0.3:${other.port}`)).toContain('ALTNAME')
    expect(other.seen).toHaveLength(0)
  })

  test('with a port is looked up, and never asked for a well-known file', async () => {
    await start({ dns: fixedDns({ 'named.test': ['127.0.0.2'] }), wellKnownPort: target.port })
    await version(`named.test:${target.port}`)
    expect(target.seen.map(({ uri, host }) => [uri, host])).toEqual([
      ['/_matrix/federation/v1/version', `named.test:${target.port}`],
    ])
  })

  test('with a static destination is dialled there, under its own name', async () => {
    await start({}, { staticDestinations: { 'named.test': target.destination } })
    await version('named.test')
    expect(target.seen[0]!.host).toBe('named.test')
  })
})

describe('a well-known file', () => {
  let site: Peer
  const names = { 'site.test': ['127.0.0.3'], 'delegated.test': ['127.0.0.2'] }
  beforeAll(async () => {
    site = await open('127.0.0.3', ['site.test', 'other-site.test'])
  })
  const serve = (answer: Peer['answer']) => {
    site.answer = answer
    return start({ dns: fixedDns(names), wellKnownPort: site.port })
  }
  const delegation = () => Response.json({ 'm.server': `delegated.test:${target.port}` })

  test('leads to the server that it names, under that name', async () => {
    await serve(delegation)
    await version('site.test')
    expect(site.seen[0]!.uri).toBe('/.well-known/matrix/server')
    expect(site.seen[0]!.host).toBe('site.test')
    expect(target.seen[0]!.host).toBe(`delegated.test:${target.port}`)
  })

  test('changes nothing of the names that are signed: those are what they were before', async () => {
    await serve(delegation)
    await version('site.test')
    const { authorization, uri } = target.seen[0]!
    expect(uri).toBe('/_matrix/federation/v1/version')
    expect(authorization).toContain('origin="here.test"')
    expect(authorization).toContain('destination="site.test"')
  })

  test('is asked for once by all who want it, and kept', async () => {
    await serve(async () => {
      await Bun.sleep(20)
      return delegation()
    })
    await Promise.all([version('site.test'), version('site.test'), version('site.test')])
    await version('site.test')
    expect(site.seen).toHaveLength(1)
    expect(target.seen).toHaveLength(4)
  })

  test('may name an IP address', async () => {
    await serve(() => Response.json({ 'm.server': `127.0.0.2:${target.port}` }))
    await version('site.test')
    expect(target.seen[0]!.host).toBe(`127.0.0.2:${target.port}`)
  })

  test('may name a server with SRV records', async () => {
    site.answer = () => Response.json({ 'm.server': 'delegated.test' })
    const record = { name: 'machine.test', port: target.port, priority: 1, weight: 1 }
    const dns = fixedDns(
      { ...names, 'machine.test': ['127.0.0.2'] },
      { '_matrix-fed._tcp.delegated.test': [record] },
    )
    await start({ dns, wellKnownPort: site.port })
    await version('site.test')
    expect(target.seen[0]!.host).toBe('delegated.test')
  })

  test('is found through redirects, also to another host', async () => {
    await serve(({ uri, host }) => {
      if (host === 'site.test' && uri === '/.well-known/matrix/server')
        return Response.redirect(`https://other-site.test:${site.port}/there`, 302)
      return uri === '/there' ? delegation() : new Response('', { status: 404 })
    })
    await start({
      dns: fixedDns({ ...names, 'other-site.test': ['127.0.0.3'] }),
      wellKnownPort: site.port,
    })
    await version('site.test')
    expect(target.seen).toHaveLength(1)
  })

  const fallsBack = async (answer: Peer['answer']) => {
    site.answer = answer
    const record = { name: 'machine.test', port: site.port, priority: 1, weight: 1 }
    const dns = fixedDns(
      { ...names, 'machine.test': ['127.0.0.3'] },
      { '_matrix-fed._tcp.site.test': [record] },
    )
    await start({ dns, wellKnownPort: site.port })
    await version('site.test')
    return site.seen.filter(({ uri }) => uri.startsWith('/_matrix'))
  }

  test('that redirects for ever is no answer', async () => {
    const seen = await fallsBack(({ uri }) =>
      uri.startsWith('/_matrix') ? new Response('{}') : Response.redirect(`/again${uri}`, 302),
    )
    expect(seen).toHaveLength(1)
    expect(site.seen.length).toBeLessThan(10)
  })

  test('that redirects to plain HTTP is no answer', async () => {
    const seen = await fallsBack(({ uri }) =>
      uri.startsWith('/_matrix')
        ? new Response('{}')
        : Response.redirect('http://delegated.test/x', 302),
    )
    expect(seen).toHaveLength(1)
  })

  test.each([
    ['is not there', () => new Response('', { status: 404 })],
    ['is not JSON', () => new Response('<html>')],
    ['names no server', () => Response.json({ 'm.server': 'not a name' })],
    ['is huge', () => new Response(`{"m.server":"a.test","x":"${'x'.repeat(100_000)}"}`)],
  ])('that %s is no answer, and the SRV record counts', async (_name, answer) => {
    const seen = await fallsBack(({ uri }) =>
      uri.startsWith('/_matrix') ? new Response('{}') : answer(),
    )
    expect(seen[0]!.host).toBe('site.test')
  })

  test('is asked for again when its time is over, and stands while that fails', async () => {
    let now = Date.now()
    let works = true
    site.answer = () =>
      works
        ? Response.json(
            { 'm.server': `delegated.test:${target.port}` },
            { headers: { 'cache-control': 'max-age=600' } },
          )
        : new Response('', { status: 500 })
    await start({ dns: fixedDns(names), wellKnownPort: site.port, clock: () => now })
    await version('site.test')
    const { discovery } = engine!
    discovery.forget('site.test')
    now += 599_000
    await version('site.test')
    expect(site.seen).toHaveLength(1)

    works = false
    now += 2_000
    discovery.forget('site.test')
    await version('site.test')
    expect(site.seen).toHaveLength(2)
    expect(target.seen).toHaveLength(3)

    // Failures are kept too, for a shorter time.
    discovery.forget('site.test')
    await version('site.test')
    expect(site.seen).toHaveLength(2)
  })
})

describe('SRV records', () => {
  test('are tried in the order of their priority', async () => {
    const far = { name: 'far.test', port: target.port, priority: 20, weight: 1 }
    const closed = { name: 'closed.test', port: 1, priority: 10, weight: 1 }
    const dns = fixedDns(
      { 'far.test': ['127.0.0.2'], 'closed.test': ['127.0.0.2'] },
      { '_matrix-fed._tcp.named.test': [far, closed] },
    )
    await start({ dns, wellKnownPort: 1 })
    await version('named.test')
    expect(target.seen[0]!.host).toBe('named.test')
  })

  test('of the old name count if there are none of the new', async () => {
    const record = { name: 'machine.test', port: target.port, priority: 1, weight: 1 }
    const dns = fixedDns({ 'machine.test': ['127.0.0.2'] }, { '_matrix._tcp.named.test': [record] })
    await start({ dns, wellKnownPort: 1 })
    await version('named.test')
    expect(target.seen).toHaveLength(1)
  })
})

describe('addresses', () => {
  const blocked = { blockedRanges: ['127.0.0.0/8', '::1/128', '10.0.0.0/8'] }

  test('in blocked ranges are not dialled, whatever name leads there (CVE-2024-52594, CVE-2021-21273, Palpo #190)', async () => {
    const dns = fixedDns({ 'named.test': ['127.0.0.2'], 'six.test': ['::ffff:127.0.0.2'] })
    await start({ dns }, blocked)
    expect(await reason(`127.0.0.2:${target.port}`)).toContain('blocked')
    expect(await reason(`named.test:${target.port}`)).toContain('blocked')
    expect(await reason(`six.test:${target.port}`)).toContain('blocked')
    expect(target.seen).toHaveLength(0)
  })

  test('are judged where a redirect of a well-known file leads, too', async () => {
    const site = await open('127.0.0.4', ['site.test'])
    site.answer = () => Response.redirect(`https://inner.test:${target.port}/x`, 302)
    await start(
      {
        dns: fixedDns({ 'site.test': ['127.0.0.4'], 'inner.test': ['127.0.0.2'] }),
        wellKnownPort: site.port,
      },
      { blockedRanges: ['127.0.0.2/32'] },
    )
    await version('site.test').catch(() => {})
    expect(site.seen.length).toBeGreaterThan(0)
    expect(target.seen).toHaveLength(0)
  })

  test('in allowed ranges are dialled although a wider range is blocked', async () => {
    await start(
      { dns: fixedDns({ 'named.test': ['127.0.0.2'] }) },
      { ...blocked, allowedRanges: ['127.0.0.2'] },
    )
    await version(`named.test:${target.port}`)
    expect(target.seen).toHaveLength(1)
  })

  test('that the operator named are dialled although they are blocked', async () => {
    await start({}, { ...blocked, staticDestinations: { 'named.test': target.destination } })
    await version('named.test')
    expect(target.seen).toHaveLength(1)
  })

  test('are tried side by side until one takes a connection', async () => {
    const dns = fixedDns({ 'named.test': ['127.0.0.9', '127.0.0.2'] })
    await start({ dns })
    await version(`named.test:${target.port}`)
    expect(target.seen).toHaveLength(1)
  })
})
