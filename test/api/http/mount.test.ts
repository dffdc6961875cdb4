import { describe, expect, test } from 'bun:test'
import { Type as t } from '@sinclair/typebox'
import type { Context } from '#src/context.ts'
import { noAppservices } from '#core/appservice.ts'
import { MatrixError, RemoteError, notFound, unauthorized } from '#core/error.ts'
import { Content, RoomId, open } from '#core/schema.ts'
import { type MountOptions, mount } from '#api/http/mount.ts'
import { type AnyOp, op } from '#api/http/op.ts'
import { RateLimits, defaultBudgets } from '#api/http/rate-limit.ts'
import { json, jsonText } from '#api/http/reply.ts'

const path = '/_matrix/client/v3/rooms/:roomId/thing/:key' as const
const params = open({ roomId: RoomId, key: t.String() })

const ops: AnyOp[] = [
  op({
    id: 'putThing',
    method: 'PUT',
    path,
    also: ['/_matrix/client/r0/rooms/:roomId/thing/:key'],
    auth: 'user',
    limit: 'message',
    maxBytes: 3000,
    params,
    body: open({ n: t.Integer(), more: t.Optional(Content) }),
    run: async ({ who, params, body, request }) => ({ who, params, body, uri: request.uri }),
  }),
  op({
    id: 'getThing',
    method: 'GET',
    path,
    auth: 'none',
    query: open({
      limit: t.Optional(t.Integer({ minimum: 1 })),
      deep: t.Optional(t.Boolean()),
      via: t.Optional(t.Array(t.String())),
      from: t.String(),
    }),
    run: ({ query }) => query,
  }),
  op({
    id: 'sendIt',
    method: 'PUT',
    path: '/_matrix/federation/v1/send/:txnId',
    auth: 'server',
    body: Content,
    run: ({ who, request }) => ({ ...who, text: request.text, uri: request.uri }),
  }),
  op({
    id: 'administer',
    method: 'POST',
    path: '/_synapse/admin/v1/thing',
    auth: 'admin',
    run: () => jsonText('{"ok":true}'),
  }),
  op({
    id: 'perhaps',
    method: 'GET',
    path: '/_matrix/client/perhaps',
    auth: 'userOptional',
    run: ({ who }) => json(202, { who }),
  }),
  op({
    id: 'fail',
    method: 'GET',
    path: '/_matrix/client/fail/:how',
    auth: 'none',
    params: open({ how: t.String() }),
    async run({ params }) {
      throw failures[params.how] ?? notFound('No such failure')
    },
  }),
]

const failures: Record<string, Error> = {
  bug: new Error('secret detail'),
  lost: Object.assign(new Error('gone'), { code: 'CONNECTION_CLOSED' }),
  full: Object.assign(new Error('full'), { code: '53100' }),
  nul: Object.assign(new Error('nul'), { code: '22021' }),
  silent: new RemoteError('hs2', 0, '', 'timed out'),
  broken: new RemoteError('hs2', 500, 'M_UNKNOWN', 'oops'),
  own: new MatrixError(418, 'M_TEAPOT', 'short and stout', { soft: true }),
}

function appOf(options: MountOptions = {}, limited = false) {
  const logged: object[] = []
  const ctx = {
    appservices: noAppservices,
    tokens: {
      find: (token: string) =>
        token === 'bad'
          ? Promise.resolve(undefined)
          : { userId: `@${token}:test`, deviceId: 'D', admin: token === 'root' },
      sight: () => {},
    },
    clock: () => 0,
    limits: new RateLimits(limited ? defaultBudgets : undefined, () => 0),
    log: {
      isLevelEnabled: () => false,
      error: (record: object) => void logged.push(record),
      warn: (record: object) => void logged.push(record),
      debug: (record: object) => void logged.push(record),
    },
  } as unknown as Context
  const app = mount(ctx, ops, options)
  const ask = async (
    method: string,
    uri: string,
    { token, body, headers }: { token?: string; body?: string; headers?: object } = {},
  ) => {
    const response = await app.fetch(
      new Request(`http://hs1${uri}`, {
        method,
        headers: { ...(token && { authorization: `Bearer ${token}` }), ...headers },
        ...(body !== undefined && { body }),
      }),
    )
    const text = await response.text()
    expect(response.headers.get('access-control-allow-origin')).toBe('*')
    return { status: response.status, headers: response.headers, body: text && JSON.parse(text) }
  }
  return { app, ask, logged }
}

const thing = '/_matrix/client/v3/rooms/%21r%3Atest/thing/a%2Fb'

test.each(['http://h', 'https://h', 'http://hs1:8008', 'https://long.example.org:8448'])(
  'the path is found behind %s',
  async (base) => {
    const { app } = appOf()
    const response = await app.fetch(new Request(`${base}/_matrix/client/perhaps`))
    expect(response.status).toBe(202)
  },
)

describe('the steps of a request', () => {
  const { ask } = appOf()

  test('a good one runs, with decoded parameters and the raw URI', async () => {
    expect(await ask('PUT', thing, { token: 'a', body: '{"n":1,"other":[1]}' })).toMatchObject({
      status: 200,
      body: {
        who: { userId: '@a:test' },
        params: { roomId: '!r:test', key: 'a/b' },
        body: { n: 1, other: [1] },
        uri: thing,
      },
    })
    expect(
      (await ask('PUT', thing.replace('v3', 'r0'), { token: 'a', body: '{"n":1}' })).status,
    ).toBe(200)
  })

  test('a token is asked for before anything is said of the body', async () => {
    expect(await ask('PUT', thing, { body: 'x' })).toMatchObject({
      status: 401,
      body: { errcode: 'M_MISSING_TOKEN' },
    })
    expect(await ask('PUT', thing, { token: 'bad', body: 'x' })).toMatchObject({
      status: 401,
      body: { errcode: 'M_UNKNOWN_TOKEN', soft_logout: false },
    })
  })

  test('a token in the query counts, a header goes before it', async () => {
    expect(await ask('PUT', `${thing}?access_token=q`, { body: '{"n":1}' })).toMatchObject({
      body: { who: { userId: '@q:test' } },
    })
    const both = await ask('PUT', `${thing}?access_token=q`, { token: 'h', body: '{"n":1}' })
    expect(both.body.who.userId).toBe('@h:test')
    const basic = { authorization: 'Basic abc' }
    expect((await ask('PUT', thing, { headers: basic, body: '{}' })).body.errcode).toBe(
      'M_MISSING_TOKEN',
    )
  })

  test.each([
    ['{', 'M_NOT_JSON'],
    ['\u{feff}{"n":1}', 'M_NOT_JSON'],
    ['[]', 'M_BAD_JSON'],
    ['3', 'M_BAD_JSON'],
    ['', 'M_BAD_JSON'],
    ['{"n":"1"}', 'M_BAD_JSON'],
    ['{"n":1.5}', 'M_BAD_JSON'],
    [`{"n":1,"x":${'['.repeat(1000)}${']'.repeat(1000)}}`, 'M_BAD_JSON'],
  ])('the body %j is %s', async (body, errcode) => {
    expect(await ask('PUT', thing, { token: 'a', body })).toMatchObject({
      status: 400,
      body: { errcode },
    })
  })

  test('brackets inside of strings do not count as depth', async () => {
    const body = JSON.stringify({ n: 1, x: '[{\\"'.repeat(120) })
    expect((await ask('PUT', thing, { token: 'a', body })).status).toBe(200)
  })

  test('keys that JavaScript knows otherwise stay what they are', async () => {
    const body = '{"n":1,"__proto__":{"a":1},"constructor":2}'
    const answer = await ask('PUT', thing, { token: 'a', body })
    expect(JSON.stringify(answer.body.body)).toBe(body)
  })

  test('a body that is no UTF-8 is no JSON', async () => {
    const { app } = appOf()
    const body = Uint8Array.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])
    const headers = { authorization: 'Bearer a' }
    const response = await app.fetch(
      new Request(`http://hs1${thing}`, { method: 'PUT', body, headers }),
    )
    expect(await response.json()).toMatchObject({ errcode: 'M_NOT_JSON' })
  })

  test('a body too large is refused, whether or not it says so', async () => {
    const body = `{"n":1,"x":"${'x'.repeat(3000)}"}`
    expect(await ask('PUT', thing, { token: 'a', body })).toMatchObject({
      status: 413,
      body: { errcode: 'M_TOO_LARGE' },
    })
    const said = { 'content-length': String(body.length) }
    expect((await ask('PUT', thing, { token: 'a', body, headers: said })).status).toBe(413)
  })

  test.each([
    ['from=a', { from: 'a' }],
    ['from=a&from=b&limit=5&deep=true', { from: 'a', limit: 5, deep: true }],
    ['from=&via=x,y&via=z', { from: '', via: ['x,y', 'z'] }],
    ['from=a&__proto__=b&unknown=c', { from: 'a' }],
  ])('the query %s is read', async (query, body) => {
    expect(await ask('GET', `${thing}?${query}`)).toMatchObject({ status: 200, body })
  })

  test.each([
    ['', 'M_MISSING_PARAM'],
    ['from=a&limit=x', 'M_INVALID_PARAM'],
    ['from=a&limit=0', 'M_INVALID_PARAM'],
    ['from=a&limit=1e3', 'M_INVALID_PARAM'],
    ['from=a&deep=1', 'M_INVALID_PARAM'],
  ])('the query %j is refused', async (query, errcode) => {
    expect(await ask('GET', `${thing}?${query}`)).toMatchObject({ status: 400, body: { errcode } })
  })

  test.each(['%zz', '%FF', 'a%00b', '%C3'])('%s in a path is refused', async (key) => {
    const uri = `/_matrix/client/v3/rooms/%21r%3Atest/thing/${key}?from=a`
    expect(await ask('GET', uri)).toMatchObject({
      status: 400,
      body: { errcode: 'M_INVALID_PARAM' },
    })
  })

  test('a parameter that is not what it must be is refused', async () => {
    const uri = '/_matrix/client/v3/rooms/room/thing/key'
    expect(await ask('PUT', uri, { token: 'a', body: '{"n":1}' })).toMatchObject({
      status: 400,
      body: { errcode: 'M_INVALID_PARAM' },
    })
  })
})

describe('who may call', () => {
  test('no server without a check, and with one the bytes as they came', async () => {
    const uri = '/_matrix/federation/v1/send/a%20b?x=%2f'
    expect((await appOf().ask('PUT', uri, { body: '{}' })).status).toBe(401)
    const { ask } = appOf({
      async checkServer(_, { text }) {
        if (!text?.includes('signed')) throw unauthorized('Not signed')
        return { origin: 'hs2' }
      },
    })
    expect((await ask('PUT', uri, { body: '{}' })).status).toBe(401)
    expect(await ask('PUT', uri, { body: '{ "signed" : 1.0 }' })).toMatchObject({
      status: 200,
      body: { origin: 'hs2', text: '{ "signed" : 1.0 }', uri },
    })
  })

  test('only an administrator calls what is for administrators', async () => {
    const { ask } = appOf()
    const uri = '/_synapse/admin/v1/thing'
    expect((await ask('POST', uri)).status).toBe(401)
    expect(await ask('POST', uri, { token: 'a' })).toMatchObject({
      status: 403,
      body: { errcode: 'M_FORBIDDEN' },
    })
    expect(await ask('POST', uri, { token: 'root' })).toMatchObject({ body: { ok: true } })
  })

  test('an optional token may be missing, but not be wrong', async () => {
    const { ask } = appOf()
    expect(await ask('GET', '/_matrix/client/perhaps')).toMatchObject({
      status: 202,
      body: { who: null },
    })
    expect((await ask('GET', '/_matrix/client/perhaps', { token: 'bad' })).status).toBe(401)
  })

  test('a budget that is spent answers when to come back', async () => {
    const { ask } = appOf({}, true)
    const send = (token: string) => ask('PUT', thing, { token, body: '{"n":1}' })
    const { burst } = defaultBudgets.message
    for (let i = 0; i < burst; i++) expect((await send('a')).status).toBe(200)
    const refused = await send('a')
    expect(refused).toMatchObject({
      status: 429,
      body: { errcode: 'M_LIMIT_EXCEEDED', retry_after_ms: 200 },
    })
    expect(refused.headers.get('retry-after')).toBe('1')
    expect((await send('b')).status).toBe(200)
  })
})

describe('what is not there', () => {
  const { ask } = appOf()

  test('an unknown path is 404, a wrong method 405, both unrecognised', async () => {
    for (const uri of [
      '/',
      '/_matrix/client/v3/nothing',
      '/%zz',
      '/_matrix/client/v9/rooms/a/thing/b',
    ])
      expect(await ask('GET', uri)).toMatchObject({
        status: 404,
        body: { errcode: 'M_UNRECOGNIZED' },
      })
    for (const method of ['POST', 'DELETE', 'PATCH'])
      expect(await ask(method, thing)).toMatchObject({
        status: 405,
        body: { errcode: 'M_UNRECOGNIZED' },
      })
  })

  test('a preflight is answered on any path and runs nothing', async () => {
    for (const uri of [thing, '/_matrix/client/fail/bug', '/nowhere']) {
      const { status, headers } = await ask('OPTIONS', uri)
      expect(status).toBe(204)
      expect(headers.get('access-control-allow-methods')).toContain('PUT')
      expect(headers.get('access-control-allow-headers')).toContain('Authorization')
    }
  })

  test('a listener serves only what it is for', async () => {
    const { ask } = appOf({ serves: ['federation'] })
    expect((await ask('PUT', thing, { token: 'a', body: '{"n":1}' })).status).toBe(404)
    expect((await ask('POST', '/_synapse/admin/v1/thing')).status).toBe(404)
    expect((await ask('PUT', '/_matrix/federation/v1/send/1', { body: '{}' })).status).toBe(401)
  })
})

describe('what fails', () => {
  test.each([
    ['bug', 500, 'M_UNKNOWN'],
    ['lost', 503, 'M_UNKNOWN'],
    ['full', 503, 'M_UNKNOWN'],
    ['nul', 400, 'M_INVALID_PARAM'],
    ['silent', 504, 'M_UNKNOWN'],
    ['broken', 502, 'M_UNKNOWN'],
    ['own', 418, 'M_TEAPOT'],
    ['none', 404, 'M_NOT_FOUND'],
  ])('%s is told as %d %s', async (how, status, errcode) => {
    const { ask, logged } = appOf()
    const answer = await ask('GET', `/_matrix/client/fail/${how}`)
    expect(answer).toMatchObject({ status, body: { errcode } })
    expect(JSON.stringify(answer.body)).not.toContain('secret detail')
    expect(answer.headers.has('retry-after')).toBe(status === 503)
    expect(logged.length).toBe(how === 'own' || how === 'none' ? 0 : 1)
    for (const record of logged)
      expect(record).toMatchObject({
        req: expect.stringMatching(/^[0-9a-f]{8}-[0-9a-z]+$/),
        path: `/_matrix/client/fail/${how}`,
      })
  })
})

test('over a socket, the address behind a trusted proxy is what a budget is for', async () => {
  const seen: string[] = []
  const where = op({
    id: 'where',
    method: 'GET',
    path: '/where/:a',
    auth: 'none',
    run: ({ request }) => ({ address: request.address, uri: request.uri }),
  })
  const ctx = { log: { isLevelEnabled: () => false } } as unknown as Context
  const app = mount(ctx, [where], { trustedProxies: ['127.0.0.0/8', '10.1.1.1'] })
  using server = Bun.serve({ port: 0, hostname: '127.0.0.1', fetch: app.fetch })
  for (const forwarded of ['', '1.2.3.4', '6.6.6.6, 1.2.3.4, 10.1.1.1', 'junk', '::ffff:9.9.9.9']) {
    const headers = forwarded ? { 'x-forwarded-for': forwarded } : undefined
    const url = `http://127.0.0.1:${server.port}/where/%2F?q=%2f`
    const response = await fetch(url, headers && { headers })
    const body = (await response.json()) as { address: string; uri: string }
    expect(body.uri).toBe('/where/%2F?q=%2f')
    seen.push(body.address)
  }
  expect(seen).toEqual(['127.0.0.1', '1.2.3.4', '1.2.3.4', '127.0.0.1', '9.9.9.9'])
})
