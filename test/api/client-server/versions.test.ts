import { expect, test } from 'bun:test'
import { stableVersions } from '#core/room-version.ts'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

test('the versions of the spec are told to anybody, but not to a token that is none', async () => {
  const { body } = await home.client.get('/_matrix/client/versions')
  expect(body.versions.slice(0, 3)).toEqual(['r0.6.1', 'v1.1', 'v1.2'])
  expect(body.versions.at(-1)).toBe('v1.19')
  expect(new Set(body.versions).size).toBe(20)
  expect(body.unstable_features).toMatchObject({
    'org.matrix.msc3916.stable': true,
    'org.matrix.simplified_msc3575': true,
  })
  const odd = await home.client.as('nonsense').get('/_matrix/client/versions')
  expect(odd.body.errcode).toBe('M_UNKNOWN_TOKEN')
})

test('where clients find the server is told if the operator says it', async () => {
  const path = '/.well-known/matrix/client'
  expect((await home.client.get(path)).status).toBe(404)
  const client = home.under({ public_base_url: 'https://matrix.example' })
  const { body, headers } = await client.get(path)
  expect(body).toEqual({ 'm.homeserver': { base_url: 'https://matrix.example' } })
  expect(headers.get('access-control-allow-origin')).toBe('*')
})

test('the capabilities name every room version there is, and the default one', async () => {
  const alice = await home.person('alice')
  const { body } = await alice.client.get('/capabilities')
  const versions = body.capabilities['m.room_versions']
  expect(Object.keys(versions.available).sort()).toEqual([...stableVersions.keys()].sort())
  expect(versions.default).toBe(home.ctx.config.rooms.default_version)
  expect(body.capabilities).toMatchObject({
    'm.change_password': { enabled: true },
    'm.get_login_token': { enabled: true },
    // No e-mail is sent here, by which an address could be confirmed.
    'm.3pid_changes': { enabled: false },
  })
  expect(body.capabilities).not.toHaveProperty('m.account_moderation')
  const moderator = await home.person('moderator', { admin: true })
  const more = await moderator.client.get('/capabilities')
  expect(more.body.capabilities['m.account_moderation']).toEqual({ suspend: true, lock: true })
  expect((await home.client.get('/capabilities')).status).toBe(401)
})

test('what is told to be there is there', async () => {
  const alice = await home.person('alice')
  const unstable = '/_matrix/client/unstable/uk.half-shot.msc2666/user/mutual_rooms'
  const { status } = await alice.client.get(`${unstable}?user_id=@somebody:far.example`)
  expect(status).toBe(200)
  const sliding = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync'
  expect((await alice.client.post(sliding, {})).status).toBe(200)
  const profile = `/profile/${alice.userId}`
  expect((await alice.client.put(`${profile}/m.tz`, { 'm.tz': 'Europe/Paris' })).status).toBe(200)
  expect((await alice.client.get(profile)).body).toEqual({ 'm.tz': 'Europe/Paris' })
})

test('a path that is not there, and a method that it does not have, are told apart', async () => {
  const nowhere = await home.client.get('/no/such/path')
  expect([nowhere.status, nowhere.body.errcode]).toEqual([404, 'M_UNRECOGNIZED'])
  const method = await home.client.delete('/login')
  expect([method.status, method.body.errcode]).toEqual([405, 'M_UNRECOGNIZED'])
})
