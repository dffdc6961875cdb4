import { expect, test } from 'bun:test'
import { type App, mount } from '#api/http/mount.ts'
import { getHealth } from '#api/admin/health.ts'
import { getMetrics } from '#api/admin/metrics.ts'
import type { Api } from '#api/http/op.ts'
import { silentLog } from '#src/log.ts'
import type { Context } from '#src/context.ts'

const token = 'a-token-of-many-letters'

function appWith(
  own: string | undefined,
  unready: string[] = [],
  serves: Api[] = ['metrics'],
): App {
  const seeing = { metrics: async () => 'laneway_lanes 1\n', unready: async () => unready }
  const config = { metrics: own === undefined ? {} : { token: own } }
  const ctx = { log: silentLog, config, seeing } as unknown as Context
  return mount(ctx, [getMetrics, getHealth], { serves, trustedProxies: ['127.0.0.1'] })
}

async function ask(app: App, from: string, headers: Record<string, string> = {}) {
  const request = new Request('http://here/_laneway/metrics', { headers })
  return (await app.fetch(request, { requestIP: () => ({ address: from }) })).status
}

test('without a token only this machine is let in', async () => {
  const app = appWith(undefined)
  expect(await ask(app, '127.0.0.1')).toBe(200)
  expect(await ask(app, '::1')).toBe(200)
  expect(await ask(app, '::ffff:127.0.0.1')).toBe(200)
  expect(await ask(app, '192.0.2.1')).toBe(403)
  expect(await ask(app, '10.0.0.1')).toBe(403)
})

test('without a token nothing is let in that a proxy or a page may have sent', async () => {
  const app = appWith(undefined)
  expect(await ask(app, '127.0.0.1', { 'x-forwarded-for': '127.0.0.1' })).toBe(403)
  expect(await ask(app, '127.0.0.1', { forwarded: 'for=127.0.0.1' })).toBe(403)
  expect(await ask(app, '127.0.0.1', { origin: 'https://example.org' })).toBe(403)
})

test('with a token it alone counts, wherever the request comes from', async () => {
  const app = appWith(token)
  expect(await ask(app, '127.0.0.1')).toBe(401)
  expect(await ask(app, '127.0.0.1', { authorization: 'Bearer another' })).toBe(401)
  expect(await ask(app, '127.0.0.1', { authorization: `Bearer ${token}x` })).toBe(401)
  expect(await ask(app, '192.0.2.1', { authorization: `Bearer ${token}` })).toBe(200)
})

test('listeners that serve no metrics know of none', async () => {
  const app = appWith(token, [], ['client', 'federation', 'admin'])
  expect(await ask(app, '127.0.0.1', { authorization: `Bearer ${token}` })).toBe(404)
})

test('every listener tells whether the server is ready, with HEAD too', async () => {
  const health = async (unready: string[], serves: Api[], method: string) => {
    const app = appWith(token, unready, serves)
    const response = await app.fetch(new Request('http://here/health', { method }))
    return [response.status, await response.text()]
  }
  for (const api of ['client', 'federation', 'admin', 'metrics'] as const)
    expect(await health([], [api], 'GET')).toEqual([200, '{"status":"ready"}'])
  expect(await health(['database'], ['client'], 'GET')).toEqual([
    503,
    '{"status":"unready","unready":["database"]}',
  ])
  expect(await health([], ['client'], 'HEAD')).toEqual([200, ''])
  expect(await health(['database'], ['client'], 'HEAD')).toEqual([503, ''])
  expect((await health([], ['client'], 'POST'))[0]).toBe(405)
})
