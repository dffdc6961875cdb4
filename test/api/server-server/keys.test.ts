import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { buildKeyDocument, checkKeyDocument } from '#core/server-keys.ts'
import { verifyJson } from '#core/signing.ts'
import * as keysQuery from '#api/server-server/keys-query.ts'
import * as keysServer from '#api/server-server/keys-server.ts'
import * as query from '#api/server-server/query.ts'
import * as version from '#api/server-server/version.ts'
import * as wellknown from '#api/server-server/wellknown.ts'
import type { WantedKey } from '#engine/worker/protocol.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant } from './plant.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const ops = [keysQuery, keysServer, query, version, wellknown].flatMap((file) =>
  Object.values(file),
)
let stage: Stage
let wanted: WantedKey[] = []

beforeAll(async () => {
  stage = await Stage.open(db.pool, ops, [peer])
  const call = stage.federation.call.bind(stage.federation)
  stage.federation.call = async (method, ...args) => {
    if (method !== 'keyDocuments') return call(method, ...args)
    wanted = args[0] as WantedKey[]
    const document = buildKeyDocument('peer.test', [peer.key], [], stage.now + 1_000)
    const known = wanted.some(({ server }) => server === 'peer.test')
    return (known ? [JSON.stringify(document)] : []) as never
  }
})
afterAll(() => stage.close())

const get = (uri: string) => stage.fetch(new Request(`https://${here}${uri}`))
const post = (uri: string, body: object) =>
  stage.fetch(new Request(`https://${here}${uri}`, { method: 'POST', body: JSON.stringify(body) }))

describe('keys', () => {
  test('of this server are served to everybody, signed', async () => {
    const { status, body } = await get('/_matrix/key/v2/server')
    expect(status).toBe(200)
    const document = checkKeyDocument(body, here)
    if (typeof document === 'string') throw new Error(document)
    expect(document.keys.get(stage.ctx.signingKey.keyId)!.publicKey).toBe(
      stage.ctx.signingKey.publicKey,
    )
    expect(document.validUntilTs).toBeGreaterThan(stage.now)
    expect((await get('/_matrix/key/v2/server/ed25519:a')).status).toBe(200)
  })

  const isPassedOn = (body: JsonObject) => {
    const [document] = body['server_keys'] as JsonObject[]
    expect(checkKeyDocument(document, 'peer.test')).toBeObject()
    const { keyId, publicKey } = stage.ctx.signingKey
    expect(verifyJson(document!, here, (id) => (id === keyId ? publicKey : undefined))).toBe(true)
  }

  test('of another server are passed on with our signature beside its own', async () => {
    isPassedOn((await get('/_matrix/key/v2/query/peer.test')).body)
    expect(wanted).toEqual([{ server: 'peer.test', keyIds: [], minimumValidUntilTs: stage.now }])
    await get('/_matrix/key/v2/query/peer.test?minimum_valid_until_ts=17')
    expect(wanted[0]!.minimumValidUntilTs).toBe(17)
  })

  test('of many servers are asked for at once', async () => {
    const { body } = await post('/_matrix/key/v2/query', {
      server_keys: {
        'peer.test': { 'ed25519:a': { minimum_valid_until_ts: 5 }, 'ed25519:b': {} },
        'a b': {},
      },
    })
    isPassedOn(body)
    expect(wanted).toEqual([
      {
        server: 'peer.test',
        keyIds: ['ed25519:a', 'ed25519:b'],
        minimumValidUntilTs: stage.now,
      },
    ])
  })

  test('of a server that cannot be had are an empty list', async () => {
    expect((await get('/_matrix/key/v2/query/gone.test')).body).toEqual({ server_keys: [] })
    const { body } = await post('/_matrix/key/v2/query', { server_keys: {} })
    expect(body).toEqual({ server_keys: [] })
  })

  test('are not asked for of what is no server, nor of too many', async () => {
    expect((await get('/_matrix/key/v2/query/a%20b')).status).toBe(400)
    const many = Object.fromEntries(Array.from({ length: 101 }, (_, n) => [`s${n}.test`, {}]))
    expect((await post('/_matrix/key/v2/query', { server_keys: many })).status).toBe(400)
    expect((await post('/_matrix/key/v2/query', { server_keys: [] })).status).toBe(400)
  })
})

test('the version says what runs here', async () => {
  const { body } = await get('/_matrix/federation/v1/version')
  expect(body).toEqual({ server: { name: 'Laneway', version: expect.any(String) } })
})

test('the well-known file says where this server is, if it is somewhere else', async () => {
  expect((await get('/.well-known/matrix/server')).status).toBe(404)
  const { config } = stage.ctx
  config.federation.delegate_to = 'matrix.here.test:443'
  const { body } = await get('/.well-known/matrix/server')
  expect(body).toEqual({ 'm.server': 'matrix.here.test:443' })
  delete config.federation.delegate_to
})

describe('queries', () => {
  const ask = (uri: string) => stage.ask(peer, 'GET', `/_matrix/federation/v1/query/${uri}`)
  const carol = `@carol:${here}`

  beforeAll(async () => {
    const { users } = stage.ctx
    await users.call('createUser', carol, { admin: false, createdAt: 1 })
    await users.call('putProfileField', carol, 'displayname', '"Carol"')
    await users.call('putProfileField', carol, 'm.tz', '"Europe/Paris"')
  })

  test('tell the profile of a local user, or one field of it', async () => {
    const uri = `profile?user_id=${encodeURIComponent(carol)}`
    expect((await ask(uri)).body).toEqual({ displayname: 'Carol', 'm.tz': 'Europe/Paris' })
    expect((await ask(`${uri}&field=displayname`)).body).toEqual({ displayname: 'Carol' })
    expect((await ask(`${uri}&field=avatar_url`)).body).toEqual({})
  })

  test.each([
    ['profile?user_id=%40nobody%3Ahere.test', 404],
    ['profile?user_id=%40carol%3Apeer.test', 404],
    ['profile?user_id=carol', 400],
    ['profile', 400],
    ['directory?room_alias=%23none%3Ahere.test', 404],
    ['directory?room_alias=%23a%3Apeer.test', 404],
    ['directory?room_alias=a', 400],
    ['weather?in=paris', 404],
  ])('that cannot be answered are refused: %s', async (uri, status) => {
    expect((await ask(uri)).status).toBe(status)
  })

  test('tell the room of an alias, and the ways into it', async () => {
    const alice = peer.user('alice')
    const room = MadeUpRoom.create('11', alice, peer)
    await plant(db.pool, stage.snapshots, room)
    await db.pool`
      insert into room_aliases (alias, room_id, creator, created_at)
      values (${`#a:${here}`}, ${room.roomId}, ${carol}, 1)`
    const { body } = await ask(`directory?room_alias=${encodeURIComponent(`#a:${here}`)}`)
    expect(body).toEqual({ room_id: room.roomId, servers: [here, 'peer.test'] })
  })
})
