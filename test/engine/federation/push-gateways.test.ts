import { describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { PushGateways } from '#engine/federation/push-gateways.ts'
import { privateRanges } from '#src/config/options.ts'
import { patienceMs } from '#test/until.ts'

const gateways = (allowed: string[] = [], names: Record<string, string[]> = {}) =>
  new PushGateways({
    blocked: privateRanges,
    allowed,
    extraAuthorities: [],
    maxInFlight: 4,
    dns: { addresses: async (host) => names[host] ?? [], srv: async () => [] },
  })

type Wish = { deadlineMs?: number; maxBytes?: number }
const ask = (asked: PushGateways, url: string, wish: Wish = {}) =>
  asked.ask({ url, body: '{"notification":{}}', deadlineMs: patienceMs, maxBytes: 1_000, ...wish })

/** What went wrong; an answer is none. */
const faultOf = async (answer: Promise<unknown>): Promise<string> => {
  const error = await answer.then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof RemoteError)) throw new Error('It was answered', { cause: error })
  return error.message
}

const serve = (fetch: (request: Request) => Response | Promise<Response>) =>
  Bun.serve({ hostname: '127.0.0.1', port: 0, fetch })

describe('a push gateway', () => {
  test('at a private address is not asked, by whatever name (CVE-2021-21392, Palpo #190)', async () => {
    let asked = 0
    const server = serve(() => {
      asked++
      return new Response('{}')
    })
    const to = (host: string) => `http://${host}:${server.port}/_matrix/push/v1/notify`
    const names = {
      'inside.test': ['127.0.0.1'],
      'mapped.test': ['::ffff:127.0.0.1'],
      'cloud.test': ['169.254.169.254'],
    }
    for (const host of ['127.0.0.1', '[::1]', 'inside.test', 'mapped.test', 'cloud.test'])
      expect(await faultOf(ask(gateways([], names), to(host)))).toContain('blocked')
    expect(await faultOf(ask(gateways(), to('nowhere.test')))).toContain('no address')
    expect(asked).toBe(0)
    // Unless the operator says otherwise.
    expect(await ask(gateways(['127.0.0.0/8'], names), to('inside.test'))).toEqual({
      status: 200,
      body: '{}',
    })
    expect(asked).toBe(1)
    await server.stop(true)
  })

  test('is asked by POST; what it answers is taken as it is, redirects too', async () => {
    const requests: [string, string, string | null, string][] = []
    const server = serve(async (request) => {
      const { pathname } = new URL(request.url)
      const type = request.headers.get('content-type')
      requests.push([request.method, pathname, type, await request.text()])
      return new Response('moved', { status: 307, headers: { location: 'http://127.0.0.1:1/' } })
    })
    const url = `http://127.0.0.1:${server.port}/_matrix/push/v1/notify`
    const answer = await ask(gateways(['127.0.0.1']), url)
    expect(answer).toEqual({ status: 307, body: 'moved' })
    expect(requests).toEqual([
      ['POST', '/_matrix/push/v1/notify', 'application/json', '{"notification":{}}'],
    ])
    await server.stop(true)
  })

  test('that says too much, hangs up or never answers is given up', async () => {
    const held = Promise.withResolvers<Response>()
    const server = serve((request) =>
      request.url.includes('long') ? new Response('x'.repeat(2_000)) : held.promise,
    )
    const to = (name: string) => `http://127.0.0.1:${server.port}/${name}`
    const open = gateways(['127.0.0.1'])
    expect(await faultOf(ask(open, to('long')))).toContain('longer than 1000 bytes')
    expect(await faultOf(ask(open, to('never'), { deadlineMs: 50 }))).not.toBe('')
    held.resolve(new Response(''))
    await server.stop(true)
    expect(await faultOf(ask(open, to('gone')))).not.toBe('')
  })

  test.each(['file:///etc/passwd', 'ftp://push.test/', 'https://a:b@push.test/', 'push', ''])(
    'is never at %s',
    async (url) => {
      expect(await faultOf(ask(gateways(), url))).toBe('It is no address of a push gateway')
    },
  )
})
