import { expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { Context } from '#src/context.ts'
import { mount } from '#api/http/mount.ts'
import { op } from '#api/http/op.ts'

test('each request is told in the log, under an ID of its own, without its query', async () => {
  const told: Record<string, unknown>[] = []
  const log = {
    isLevelEnabled: () => true,
    debug: (record: Record<string, unknown>) => told.push(record),
  }
  const here = op({ id: 'here', method: 'GET', path: '/here', auth: 'none', run: () => ({}) })
  const app = mount({ log } as unknown as Context, [here])
  for (const uri of ['/here?access_token=secret', '/here', '/nowhere'])
    await app.fetch(new Request(`http://hs1${uri}`))
  expect(told).toMatchObject([
    { op: 'here', method: 'GET', path: '/here', status: 200, ms: expect.any(Number) },
    { op: 'here', status: 200 },
    { path: '/nowhere', status: 404 },
  ])
  expect(new Set(told.map(({ req }) => req)).size).toBe(3)
  expect(JSON.stringify(told)).not.toContain('secret')
})

test('that another server failed is no error of ours: it is told on request only', async () => {
  const told: string[] = []
  const log = {
    isLevelEnabled: () => false,
    debug: () => told.push('debug'),
    warn: () => told.push('warn'),
    error: () => told.push('error'),
  }
  const failing = (id: string, error: Error) =>
    op({
      id,
      method: 'GET',
      path: `/${id}`,
      auth: 'none',
      run() {
        throw error
      },
    })
  const app = mount({ log } as unknown as Context, [
    failing('remote', new RemoteError('hs2.test', 0, 'M_UNKNOWN', 'no answer')),
    failing('bug', new TypeError('undefined is not a function')),
  ])
  expect((await app.fetch(new Request('http://hs1/remote'))).status).toBe(504)
  expect((await app.fetch(new Request('http://hs1/bug'))).status).toBe(500)
  expect(told).toEqual(['debug', 'error'])
})
