import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { createServer, type TLSSocket } from 'node:tls'
import { AddressPolicy } from '#engine/federation/addresses.ts'
import { Dialer } from '#engine/federation/dialer.ts'
import { Discovery, type Target } from '#engine/federation/discovery.ts'
import type { SrvRecord } from '#engine/federation/dns.ts'
import type { WellKnown } from '#engine/federation/well-known.ts'
import { until } from '#test/until.ts'
import { Authority, fixedDns } from './peers.ts'

/** Spec: server-server-api/#resolving-server-names */
const asked: string[] = []

/** What discovery finds where well-known files and SRV records say this. */
function find(
  serverName: string,
  { delegated, srv = {} }: { delegated?: string; srv?: Record<string, SrvRecord[]> },
): Promise<Target[]> {
  asked.length = 0
  const wellKnown = {
    lookUp: async (host: string) => {
      asked.push(`well-known ${host}`)
      return delegated
    },
  } as unknown as WellKnown
  const names = fixedDns({}, srv)
  const dns = {
    ...names,
    srv: (name: string) => {
      asked.push(`srv ${name}`)
      return names.srv(name)
    },
  }
  return new Discovery({ dns, wellKnown, staticDestinations: new Map() }).find(
    serverName,
    new AbortController().signal,
  )
}

const record = (name: string, port = 1234, priority = 1): SrvRecord => ({
  name,
  port,
  priority,
  weight: 1,
})
const fed = (host: string) => `srv _matrix-fed._tcp.${host}`
const old = (host: string) => `srv _matrix._tcp.${host}`

type Step = [
  name: string,
  serverName: string,
  says: Parameters<typeof find>[1],
  dialled: string,
  hostHeader: string,
  certificate: string,
  asks: string[],
]
const site = 'well-known a.test'
const steps: Step[] = [
  ['1. an IP literal', '1.2.3.4', {}, '1.2.3.4:8448', '1.2.3.4', '1.2.3.4', []],
  ['1. an IP literal with a port', '1.2.3.4:5', {}, '1.2.3.4:5', '1.2.3.4:5', '1.2.3.4', []],
  ['1. an IP literal of version 6', '[::1]', {}, '::1:8448', '[::1]', '::1', []],
  ['1. and that with a port', '[::1]:5', {}, '::1:5', '[::1]:5', '::1', []],
  ['2. a port', 'a.test:5', { delegated: 'b.test' }, 'a.test:5', 'a.test:5', 'a.test', []],
  [
    '3.1 a well-known IP literal',
    'a.test',
    { delegated: '1.2.3.4' },
    '1.2.3.4:8448',
    '1.2.3.4',
    '1.2.3.4',
    [site],
  ],
  [
    '3.1 a well-known IP literal with a port',
    'a.test',
    { delegated: '[::1]:5' },
    '::1:5',
    '[::1]:5',
    '::1',
    [site],
  ],
  [
    '3.2 a well-known name with a port',
    'a.test',
    { delegated: 'b.test:5', srv: { '_matrix-fed._tcp.b.test': [record('c.test')] } },
    'b.test:5',
    'b.test:5',
    'b.test',
    [site],
  ],
  [
    '3.3 a well-known name with an SRV record',
    'a.test',
    {
      delegated: 'b.test',
      srv: {
        '_matrix-fed._tcp.b.test': [record('c.test')],
        '_matrix._tcp.b.test': [record('d.test')],
        '_matrix-fed._tcp.a.test': [record('e.test')],
      },
    },
    'c.test:1234',
    'b.test',
    'b.test',
    [site, fed('b.test')],
  ],
  [
    '3.4 a well-known name with a deprecated SRV record',
    'a.test',
    { delegated: 'b.test', srv: { '_matrix._tcp.b.test': [record('d.test')] } },
    'd.test:1234',
    'b.test',
    'b.test',
    [site, fed('b.test'), old('b.test')],
  ],
  [
    '3.5 a well-known name alone',
    'a.test',
    { delegated: 'b.test', srv: { '_matrix-fed._tcp.a.test': [record('e.test')] } },
    'b.test:8448',
    'b.test',
    'b.test',
    [site, fed('b.test'), old('b.test')],
  ],
  [
    '4. an SRV record',
    'a.test',
    {
      srv: {
        '_matrix-fed._tcp.a.test': [record('c.test')],
        '_matrix._tcp.a.test': [record('d.test')],
      },
    },
    'c.test:1234',
    'a.test',
    'a.test',
    [site, fed('a.test')],
  ],
  [
    '5. a deprecated SRV record',
    'a.test',
    { srv: { '_matrix._tcp.a.test': [record('d.test')] } },
    'd.test:1234',
    'a.test',
    'a.test',
    [site, fed('a.test'), old('a.test')],
  ],
  [
    '6. the name alone',
    'a.test',
    {},
    'a.test:8448',
    'a.test',
    'a.test',
    [site, fed('a.test'), old('a.test')],
  ],
]

describe('discovery goes by', () => {
  test.each(steps)('%s', async (_name, serverName, says, dialled, hostHeader, name, asks) => {
    const [target, ...others] = await find(serverName, says)
    expect(others).toEqual([])
    const { host, port } = target!
    expect({ dialled: `${host}:${port}`, hostHeader: target!.hostHeader, asked }).toEqual({
      dialled,
      hostHeader,
      asked: asks,
    })
    expect(target).toMatchObject({ certificateName: name, trusted: false })
  })

  test('four SRV records at most, the best first, and none that stands for nothing', async () => {
    const records = [6, 5, 4, 3, 2, 1].map((priority) => record(`p${priority}.test`, 1, priority))
    const srv = { '_matrix-fed._tcp.a.test': [...records, record('.', 1, 0), record('', 1, 0)] }
    const targets = await find('a.test', { srv })
    expect(targets.map(({ host }) => host)).toEqual(['p1.test', 'p2.test', 'p3.test', 'p4.test'])
    // A service that is said not to be there leaves the older name, and the name alone.
    const none = await find('a.test', { srv: { '_matrix-fed._tcp.a.test': [record('.')] } })
    expect(none.map(({ host, port }) => [host, port])).toEqual([['a.test', 8448]])
  })
})

describe('the server that is dialled', () => {
  const names: (string | false)[] = []
  const requests: string[] = []
  let authority: Authority
  let port = 0
  let close: () => void

  beforeAll(async () => {
    authority = await Authority.make()
    const certificate = await authority.certify('named.test', '127.0.0.1')
    const server = createServer(certificate, (socket: TLSSocket) => {
      names.push((socket as TLSSocket & { servername: string | false }).servername)
      socket.on('error', () => {})
      socket.once('data', (data: Buffer) => {
        requests.push(data.toString('latin1'))
        socket.end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}')
      })
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    port = (server.address() as { port: number }).port
    close = () => server.close()
  })
  afterAll(async () => {
    close()
    await authority.remove()
  })

  const dial = (target: Pick<Target, 'host' | 'hostHeader' | 'certificateName'>) =>
    new Dialer({
      dns: fixedDns({ 'machine.test': ['127.0.0.1'], 'named.test': ['127.0.0.1'] }),
      policy: new AddressPolicy({ blocked: [], allowed: [] }),
      extraAuthorities: [authority.pem],
    }).send(
      { port, trusted: false, ...target },
      { method: 'GET', uri: '/x', headers: {} },
      100,
      new AbortController().signal,
    )
  const hostIn = (request: string) => /\r\nhost: ([^\r]*)/i.exec(request)?.[1]

  test('is asked for the certificate of the name, wherever the name led', async () => {
    await dial({ host: 'machine.test', hostHeader: 'named.test', certificateName: 'named.test' })
    await until(() => requests.length === 1)
    expect([names.at(-1), hostIn(requests.at(-1)!)]).toEqual(['named.test', 'named.test'])
  })

  test('is asked for no name where it has none but its address', async () => {
    const hostHeader = `127.0.0.1:${port}`
    await dial({ host: '127.0.0.1', hostHeader, certificateName: '127.0.0.1' })
    await until(() => requests.length === 2)
    expect(names.at(-1) || false).toBe(false)
    expect(hostIn(requests.at(-1)!)).toBe(hostHeader)
  })

  test('is not asked for anything if its certificate is that of the machine alone', async () => {
    const before = requests.length
    const target = { host: 'machine.test', hostHeader: 'a.test', certificateName: 'a.test' }
    await expect(dial(target)).rejects.toThrow()
    expect(requests).toHaveLength(before)
  })
})
