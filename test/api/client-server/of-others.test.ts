import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home, type Person } from './home.ts'

/** What one user got from the server, in the hands of another. */

const db = await testDatabase()
const home = await Home.open(db)
const enc = encodeURIComponent

/** Alice is in a room with a message; Bob is not. */
async function scene() {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const room = await home.story.room(alice.userId)
  const { eventId } = await room.send(alice.userId, 'a kumquat')
  await alice.client.put(`/user/${alice.userId}/account_data/org.example`, { mine: true })
  return { alice, bob, room, eventId }
}
const says = (who: Person, text: unknown) => expect(JSON.stringify(text)).not.toContain(who.userId)

describe('tokens of somebody else', () => {
  test('are places in the server, and lead to nothing that is theirs', async () => {
    const { alice, bob, room, eventId } = await scene()
    const start = (await alice.client.get('/sync')).body.next_batch
    await room.send(alice.userId, 'another')
    await alice.client.put(`/user/${alice.userId}/account_data/org.example`, { mine: 'still' })
    const { status, body } = await bob.client.get(`/sync?since=${start}`)
    expect(status).toBe(200)
    says(alice, body)
    const end = (await alice.client.get('/sync')).body.next_batch
    const changes = await bob.client.get(`/keys/changes?from=${start}&to=${end}`)
    expect(changes.body).toEqual({ changed: [], left: [] })
    const pages = [
      `/rooms/${enc(room.roomId)}/messages?dir=b&from=${start}`,
      `/rooms/${enc(room.roomId)}/members?at=${start}`,
      `/_matrix/client/v1/rooms/${enc(room.roomId)}/relations/${enc(eventId)}?from=${start}`,
    ]
    for (const path of pages) {
      const answer = await bob.client.get(path)
      expect([403, 404]).toContain(answer.status)
      says(alice, answer.body)
    }
  })

  test('of a search find what is one’s own', async () => {
    const { alice, bob, room } = await scene()
    await room.send(alice.userId, 'a kumquat too')
    const search = (who: Person, query = '') =>
      who.client.post(`/search${query}`, {
        search_categories: {
          room_events: { search_term: 'kumquat', order_by: 'recent', filter: { limit: 1 } },
        },
      })
    const { next_batch: next } = (await search(alice)).body.search_categories.room_events
    const { status, body } = await search(bob, `?next_batch=${next}`)
    expect([status, body.search_categories.room_events.results]).toEqual([200, []])
    says(alice, body)
  })

  test('that were cut, changed or made up are refused', async () => {
    const { alice } = await scene()
    const token: string = (await alice.client.get('/sync')).body.next_batch
    for (const bad of ['s', 'x', `${token}!`, '\0', '-1', 'null', '%'.repeat(9)]) {
      const { status, body } = await alice.client.get(`/sync?since=${enc(bad)}`)
      expect([bad, status, body.errcode]).toEqual([bad, 400, 'M_INVALID_PARAM'])
    }
  })
})

test('a filter of somebody else is none', async () => {
  const { alice, bob } = await scene()
  const { filter_id: id } = (
    await alice.client.post(`/user/${alice.userId}/filter`, { room: { rooms: [] } })
  ).body
  for (const path of [`/sync?filter=${id}`, `/user/${bob.userId}/filter/${id}`]) {
    const { status, body } = await bob.client.get(path)
    expect([path, [400, 404].includes(status)]).toEqual([path, true])
    expect(['M_INVALID_PARAM', 'M_NOT_FOUND']).toContain(body.errcode)
  }
})

test('nothing below the name of somebody else is given or taken', async () => {
  const { alice, bob, room } = await scene()
  const user = `/user/${enc(alice.userId)}`
  const inRoom = `${user}/rooms/${enc(room.roomId)}`
  const asked = await Promise.all([
    bob.client.get(`${user}/account_data/org.example`),
    bob.client.put(`${user}/account_data/org.example`, {}),
    bob.client.get(`${inRoom}/account_data/org.example`),
    bob.client.put(`${inRoom}/account_data/org.example`, {}),
    bob.client.get(`${inRoom}/tags`),
    bob.client.put(`${inRoom}/tags/u.x`, {}),
    bob.client.delete(`${inRoom}/tags/u.x`),
    bob.client.post(`${user}/filter`, {}),
    bob.client.post(`${user}/openid/request_token`, {}),
    bob.client.put(`/profile/${enc(alice.userId)}/displayname`, { displayname: 'x' }),
    bob.client.delete(`/profile/${enc(alice.userId)}/displayname`),
    bob.client.put(`/rooms/${enc(room.roomId)}/typing/${enc(alice.userId)}`, { typing: true }),
  ])
  expect(asked.map(({ status, body }) => [status, body.errcode])).toEqual(
    asked.map(() => [403, 'M_FORBIDDEN']),
  )
  expect((await alice.client.get(`${user}/account_data/org.example`)).body).toEqual({ mine: true })
})

test('devices of somebody else are not there, and cannot be renamed or removed', async () => {
  const { alice, bob } = await scene()
  const path = `/devices/${enc(alice.deviceId)}`
  expect((await bob.client.get(path)).status).toBe(404)
  expect((await bob.client.put(path, { display_name: 'x' })).status).toBe(404)
  const auth = { type: 'm.login.password', password: 'secret' }
  // As of a device that is gone.
  expect((await bob.client.delete(path, { auth })).status).toBe(200)
  const gone = { devices: [alice.deviceId], auth }
  expect((await bob.client.post('/delete_devices', gone)).status).toBe(200)
  expect((await alice.client.get('/account/whoami')).status).toBe(200)
})
