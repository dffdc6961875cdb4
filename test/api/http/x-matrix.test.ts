import { afterAll, beforeAll, beforeEach, expect, test } from 'bun:test'
import { Type as t } from '@sinclair/typebox'
import { open } from '#core/schema.ts'
import { authorizationHeader } from '#core/x-matrix.ts'
import { op } from '#api/http/op.ts'
import { here, Stage } from '#test/api/server-server/stage.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const uri = '/_matrix/federation/v1/echo/a%2Fb?x=%20y&x=1'
const echo = [
  op({
    id: 'getEcho',
    method: 'GET',
    path: '/_matrix/federation/v1/echo/:what',
    auth: 'server',
    run: ({ who }) => who,
  }),
  op({
    id: 'putEcho',
    method: 'PUT',
    path: '/_matrix/federation/v1/echo/:what',
    auth: 'server',
    body: open({ n: t.Unknown() }),
    run: ({ who, body }) => ({ who, body }),
  }),
]
let stage: Stage

beforeAll(async () => {
  stage = await Stage.open(db.pool, echo, [peer])
})
beforeEach(() => {
  stage.federation.askedKeys.length = 0
})
afterAll(() => stage.close())

const get = (header: string) => stage.ask(peer, 'GET', uri, undefined, { header })
const signed = { method: 'GET', uri, origin: 'peer.test', destination: here }

test('a signed request tells who sent it', async () => {
  const { status, body } = await stage.ask(peer, 'GET', uri)
  expect([status, body]).toEqual([200, { origin: 'peer.test' }])
  expect(stage.heard).toContain('peer.test')
})

test('a key that is known is not asked for again', async () => {
  await stage.ask(peer, 'GET', uri)
  stage.federation.askedKeys.length = 0
  await stage.ask(peer, 'GET', uri)
  expect(stage.federation.askedKeys).toEqual([])
})

test('the signature covers the body as it came, floats and all', async () => {
  const { body } = await stage.ask(peer, 'PUT', uri, { n: 1 })
  expect(body).toEqual({ who: { origin: 'peer.test' }, body: { n: 1 } })
  const changed = await stage.ask(peer, 'PUT', uri, { n: 1 }, { body: '{"n":2}' })
  expect([changed.status, changed.body['errcode']]).toEqual([401, 'M_UNAUTHORIZED'])
})

test('the signature covers method and path', async () => {
  const other = authorizationHeader({ ...signed, uri: uri.replace('%2F', '/') }, peer.key)
  expect((await get(other)).status).toBe(401)
  const put = authorizationHeader({ ...signed, method: 'PUT' }, peer.key)
  expect((await get(put)).status).toBe(401)
})

test('a request for another server is refused', async () => {
  const header = authorizationHeader({ ...signed, destination: 'elsewhere.test' }, peer.key)
  const { status, body } = await get(header)
  expect([status, body['errcode']]).toEqual([401, 'M_UNAUTHORIZED'])
})

test('the destination may be missing in the header', async () => {
  const header = authorizationHeader(signed, peer.key)
  expect((await get(header.replace(`destination="${here}",`, ''))).status).toBe(200)
})

test('quotes, spaces and the case of names do not matter', async () => {
  const header = authorizationHeader(signed, peer.key)
  const odd = header
    .replace('X-Matrix origin="peer.test",', 'x-matrix   ORIGIN=peer.test ,\t ')
    .replace('sig=', 'unknown="a\\"b", signature=')
  expect((await get(odd)).status).toBe(200)
})

test.each([
  ['is missing', ''],
  ['is of another kind', 'Bearer abc'],
  ['is malformed', 'X-Matrix origin="peer.test'],
  ['names no server', 'X-Matrix origin="a b",key="ed25519:a",sig="x"'],
  ['is of a key that is not there', 'X-Matrix origin="gone.test",key="ed25519:a",sig="x"'],
  ['has a signature that is none', 'X-Matrix origin="peer.test",key="ed25519:made_up",sig="!"'],
  ['is our own', `X-Matrix origin="${here}",key="ed25519:a",sig="x"`],
])('an authorization that %s is refused', async (_name, header) => {
  const { status, body } = await get(header)
  expect([status, body['errcode']]).toEqual([401, 'M_UNAUTHORIZED'])
})

test('a key that has expired signs no request', async () => {
  const known = peer.knownKey
  const expiring = { ...known, validUntilTs: stage.now + 1_000 }
  const gone = new MadeUpServer('expiring.test')
  Object.defineProperty(gone, 'knownKey', {
    get: () => ({ ...expiring, server: gone.name, key: gone.key.publicKey, keyId: gone.key.keyId }),
  })
  const other = await Stage.open(db.pool, echo, [gone])
  expect((await other.ask(gone, 'GET', uri)).status).toBe(200)
  other.now = stage.now + 2_000
  const { status, body } = await other.ask(gone, 'GET', uri)
  expect([status, body['error']]).toEqual([401, expect.stringContaining('expired')])
  await other.close()
})

test('a key that its server has replaced signs no request, though it had not expired by its own time', async () => {
  const replaced = new MadeUpServer('replaced.test')
  const { name: server, key } = replaced
  const known = { server, keyId: key.keyId, key: key.publicKey, validUntilTs: stage.now + 60_000 }
  let expired = {}
  Object.defineProperty(replaced, 'knownKey', { get: () => ({ ...known, ...expired }) })
  const other = await Stage.open(db.pool, echo, [replaced])
  expired = { expiredTs: stage.now + 60_000 }
  const { status, body } = await other.ask(replaced, 'GET', uri)
  expect([status, body['error']]).toEqual([401, expect.stringContaining('expired')])
  await other.close()
})

test('a body that is no JSON is refused before its signature is looked at', async () => {
  const header = authorizationHeader({ ...signed, method: 'PUT' }, peer.key)
  const { status, body } = await stage.ask(peer, 'PUT', uri, undefined, { header, body: '{' })
  expect([status, body['errcode']]).toEqual([400, 'M_NOT_JSON'])
})
