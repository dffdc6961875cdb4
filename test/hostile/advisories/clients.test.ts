import { afterAll, beforeAll, expect, test } from 'bun:test'
import { Living } from '#test/api/client-server/living.ts'
import { testDatabase } from '#test/database.ts'

/** What users of this server could do to each other. */

const db = await testDatabase()
let home: Living
beforeAll(async () => {
  home = await Living.open(db.pool)
})
afterAll(() => home.close())

const alice = '@alice:here.example'
const bob = '@bob:here.example'
const mallory = '@mallory:here.example'
const path = (roomId: string, rest: string) => `/rooms/${encodeURIComponent(roomId)}/${rest}`

/** A private room of alice and bob, in which she has said something, and a token from then. */
async function privateRoom(wish: object = {}) {
  const { body } = await home.post('/createRoom', alice, {
    preset: 'private_chat',
    name: 'The plan',
    invite: [bob],
    ...wish,
  })
  const roomId = body['room_id'] as string
  expect((await home.post(path(roomId, 'join'), bob)).status).toBe(200)
  const said = await home.put(path(roomId, `send/m.room.message/${crypto.randomUUID()}`), alice, {
    msgtype: 'm.text',
    body: 'secret',
  })
  const sync = await home.get('/sync', alice)
  return {
    roomId,
    eventId: said.body['event_id'] as string,
    token: sync.body['next_batch'] as string,
  }
}

test('CVE-2021-39164: members of a room are not told to strangers, at whatever time', async () => {
  const { roomId, token } = await privateRoom()
  for (const query of ['', `?at=${encodeURIComponent(token)}`, '?membership=join']) {
    const { status, body } = await home.get(path(roomId, `members${query}`), mallory)
    expect(status).toBe(403)
    expect(JSON.stringify(body)).not.toContain(bob)
  }
  expect((await home.get(path(roomId, 'joined_members'), mallory)).status).toBe(403)
})

test('CVE-2021-39163: neither are its name, its topic, its picture and how many are in it', async () => {
  const { roomId } = await privateRoom()
  const summary = `/_matrix/client/v1/room_summary/${encodeURIComponent(roomId)}`
  const hierarchy = `/_matrix/client/v1/rooms/${encodeURIComponent(roomId)}/hierarchy`
  for (const each of [summary, hierarchy, path(roomId, 'state/m.room.name')]) {
    const { status, body } = await home.get(each, mallory)
    expect([403, 404]).toContain(status)
    expect(JSON.stringify(body)).not.toContain('The plan')
  }
})

test('CVE-2024-6302: users of one server do not redact each other without the power to', async () => {
  const { roomId, eventId } = await privateRoom({ preset: 'private_chat' })
  const redact = path(roomId, `redact/${encodeURIComponent(eventId)}/${crypto.randomUUID()}`)
  expect((await home.put(redact, bob, {})).status).toBe(403)
  const { body } = await home.get(path(roomId, `event/${encodeURIComponent(eventId)}`), alice)
  expect(body['content']).toMatchObject({ body: 'secret' })
})

test('CVE-2024-6303: an alias is not led to another room by who did not make it', async () => {
  const { roomId } = await privateRoom({ room_alias_name: 'admins' })
  const alias = `/directory/room/${encodeURIComponent('#admins:here.example')}`
  const made = await home.post('/createRoom', mallory, {})
  const trap = made.body['room_id'] as string
  expect((await home.ask('DELETE', alias, mallory)).status).toBe(403)
  expect((await home.put(alias, mallory, { room_id: trap })).status).toBe(409)
  expect((await home.get(alias, bob)).body['room_id']).toBe(roomId)
})
