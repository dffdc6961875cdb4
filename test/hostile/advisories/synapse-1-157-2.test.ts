import { expect, test } from 'bun:test'
import { ops } from '#api/index.ts'
import { Home } from '#test/api/client-server/home.ts'
import { twoHomes } from '#test/api/server-server/two-homes.ts'
import { testDatabase } from '#test/database.ts'
import { until } from '#test/until.ts'

/** What a release of Synapse mended in July 2026, as far as it is not a matter of other tests here. */

const db = await testDatabase()
const home = await Home.open(db)
const enc = encodeURIComponent
const homes = await twoHomes()
/** Mallory is a user of the other server. */
const [alice, mallory] = [await homes[0].person('alice'), await homes[1].person('mallory')]

test('Synapse 1.157.2, GHSA-95fh-hv8c-chvq: another server cannot say that a user is logged out', async () => {
  const pia = await home.person('pia')
  home.federation.answer = () => ({
    status: 401,
    body: JSON.stringify({ errcode: 'M_UNKNOWN_TOKEN', error: 'Log in again', soft_logout: false }),
  })
  const far = enc('@bob:far.test')
  const asked = home.federation.requests.length
  const calls: [string, string, object?][] = [
    ['GET', `/profile/${far}`],
    ['GET', `/profile/${far}/displayname`],
    ['GET', `/directory/room/${enc('#a:far.test')}`],
    ['GET', '/publicRooms?server=far.test'],
    ['POST', '/publicRooms?server=far.test', {}],
    ['POST', `/join/${enc('#a:far.test')}`, {}],
    ['POST', `/knock/${enc('#a:far.test')}`, {}],
    ['POST', '/keys/query', { device_keys: { '@bob:far.test': [] } }],
    ['POST', '/keys/claim', { one_time_keys: { '@bob:far.test': { A: 'signed_curve25519' } } }],
  ]
  for (const [method, path, body] of calls) {
    const { status, body: told } =
      method === 'GET' ? await pia.client.get(path) : await pia.client.post(path, body)
    expect({ path, isLoggedOut: status === 401 || told.errcode === 'M_UNKNOWN_TOKEN' }).toEqual({
      path,
      isLoggedOut: false,
    })
    expect({ path, soft: 'soft_logout' in told }).toEqual({ path, soft: false })
  }
  expect(home.federation.requests.length).toBeGreaterThanOrEqual(asked + 7)
})

test('Synapse 1.157.2: a path with more behind it is another path, and none', async () => {
  const pia = await home.person('pia')
  for (const { path, method } of ops) {
    if (!path.startsWith('/_matrix') && !path.startsWith('/_synapse')) continue
    const longer = `${path.replace(/:\w+/g, 'x')}/zzz/zzz/zzz`
    const { status, body } = await pia.client.ask(method, longer)
    expect({ longer, status, errcode: body.errcode }).toEqual({
      longer,
      status: 404,
      errcode: 'M_UNRECOGNIZED',
    })
  }
})

test('Synapse 1.157.2: a room does not get the settings of another by saying that it takes its place', async () => {
  const roomId = (await alice.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
  const tags = (id: string) => `user/${enc(alice.userId)}/rooms/${enc(id)}/tags`
  const rule = (id: string) => `pushrules/global/room/${enc(id)}`
  await alice.do('PUT', `${tags(roomId)}/m.favourite`, { order: 0.1 })
  await alice.do('PUT', rule(roomId), { actions: ['notify'] })
  const claim = { creation_content: { predecessor: { room_id: roomId, event_id: '$none' } } }
  const wish = { preset: 'public_chat', ...claim }
  const trap = (await mallory.do('POST', 'createRoom', wish)).room_id as string
  await alice.do('POST', `join/${enc(trap)}?via=there.test`, {})
  await until(async () => (await alice.membershipOf(trap, alice.userId)) === 'join')
  expect((await alice.do('GET', tags(trap))).tags).toEqual({})
  expect((await alice.ask('GET', rule(trap))).status).toBe(404)
  // Nor does a third room that the old one does not name.
  const next = (await alice.do('POST', `rooms/${enc(roomId)}/upgrade`, { new_version: '11' }))
    .replacement_room as string
  expect((await alice.do('GET', tags(next))).tags).toEqual({ 'm.favourite': { order: 0.1 } })
  const late = (await mallory.do('POST', 'createRoom', wish)).room_id as string
  await alice.do('POST', `join/${enc(late)}?via=there.test`, {})
  expect((await alice.do('GET', tags(late))).tags).toEqual({})
})

test('Synapse 1.157.2: names and pictures that are no texts end nobody’s sliding sync', async () => {
  const wish = { preset: 'public_chat', room_version: '11' }
  const roomId = (await mallory.do('POST', 'createRoom', wish)).room_id as string
  await alice.do('POST', `join/${enc(roomId)}?via=there.test`, {})
  const odd = [7, ['x'], { a: 1 }, null, true]
  const path = `rooms/${enc(roomId)}/state`
  for (const value of odd) {
    const member = { membership: 'join', displayname: value, avatar_url: value }
    await mallory.ask('PUT', `${path}/m.room.member/${enc(mallory.userId)}`, member)
    await mallory.do('PUT', `${path}/m.room.name/`, { name: value })
    await mallory.do('PUT', `${path}/m.room.avatar/`, { url: value })
    await mallory.do('PUT', `${path}/m.room.topic/`, { topic: JSON.stringify(value) })
    const seen = async () => (await alice.ask('GET', `${path}/m.room.topic/`)).body.topic as unknown
    await until(async () => (await seen()) === JSON.stringify(value))
    const body = JSON.stringify({
      lists: { all: { ranges: [[0, 10]], required_state: [['*', '*']], timeline_limit: 5 } },
    })
    const sync = '/_matrix/client/unstable/org.matrix.simplified_msc3575/sync'
    const response = await alice.fetch(sync, { method: 'POST', body })
    expect(response.status).toBe(200)
    type Room = { name?: unknown; avatar?: unknown; heroes?: Record<string, unknown>[] }
    const { rooms } = (await response.json()) as { rooms: Record<string, Room> }
    const { name = '', avatar = '', heroes = [] } = rooms[roomId]!
    expect([typeof name, typeof avatar]).toEqual(['string', 'string'])
    for (const hero of heroes)
      for (const told of Object.values(hero)) expect(typeof told).toBe('string')
    expect((await alice.ask('GET', 'sync?timeout=0')).status).toBe(200)
  }
})
