import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { makeSenders } from '#engine/user/appservice-senders.ts'
import { irc } from '#test/api/client-server/bridge.ts'
import { messages } from '#test/engine/room/import/importing.ts'
import {
  encoded,
  importAll,
  makeRoom,
  openImporting,
  path,
  readAll,
  say,
  texts,
} from './importing.ts'

const db = await testDatabase()
const { home, root } = await openImporting(db)
await makeSenders(home.ctx, home.ctx.appservices)
const ann = '@_import_ann:here.example'

test('a room for the history alone is closed, and tied to the room in which people go on', async () => {
  const alice = await home.person('alice')
  const live = await makeRoom(alice)
  await say(alice, live, 'now')
  const history = await makeRoom(alice)
  const wish = { room_id: history, mode: 'archive', live_room_id: live }
  const session = await importAll(root.client, wish, {
    people: [{ user_id: ann }],
    records: messages('m', ann, 4),
  })
  // Asked again, it says nothing twice.
  expect((await root.client.post(`${path}/${session}/commit`)).status).toBe(200)
  const state = async (roomId: string, type: string) =>
    (await alice.client.get(`/rooms/${encoded(roomId)}/state/${type}/`)).body
  expect(await state(history, 'm.room.tombstone')).toMatchObject({ replacement_room: live })
  expect(await state(live, 'org.matrix.msc3946.room_predecessor')).toMatchObject({
    predecessor_room_id: history,
  })
  expect(texts(await readAll(alice.client, history, { limit: 3 }))).toEqual([
    'm0',
    'm1',
    'm2',
    'm3',
  ])
  const shown = await readAll(alice.client, live, { limit: 50 })
  const links = shown.filter(({ type }) => type === 'org.matrix.msc3946.room_predecessor')
  expect(links).toHaveLength(1)
  expect(texts(shown)).toEqual(['now'])
})

test('where the live room may not be changed, the history is there all the same', async () => {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const live = await makeRoom(bob)
  const history = await makeRoom(alice)
  const wish = { room_id: history, mode: 'archive', live_room_id: live }
  await importAll(root.client, wish, {
    people: [{ user_id: ann }],
    records: messages('m', ann, 2),
  })
  expect(texts(await readAll(alice.client, history, { limit: 3 }))).toEqual(['m0', 'm1'])
  const link = `/rooms/${encoded(live)}/state/org.matrix.msc3946.room_predecessor/`
  expect((await bob.client.get(link)).status).toBe(404)
})

test('an application service ties rooms together by its own right, not by that of others', async () => {
  const alice = await home.person('alice')
  const asIrc = home.client.as(irc.asToken)
  const users = { [irc.sender]: 50 }
  const live = await makeRoom(alice)
  const history = await makeRoom(alice, { power_level_content_override: { users } })
  await asIrc.post(`/join/${encoded(history)}`)
  const one = '@_irc_one:here.example'
  const wish = { room_id: history, mode: 'archive', live_room_id: live }
  const session = await importAll(asIrc, wish, {
    people: [{ user_id: one }],
    records: messages('m', one, 2),
  })
  const state = async (roomId: string, type: string) =>
    (await alice.client.get(`/rooms/${encoded(roomId)}/state/${type}/`)).status
  const predecessor = 'org.matrix.msc3946.room_predecessor'
  expect(await state(live, predecessor)).toBe(404)
  expect(await state(history, 'm.room.tombstone')).toBe(404)
  // Once it may, it does, when it is asked again.
  for (const roomId of [live, history]) {
    const levels = { users: { [irc.sender]: 100 } }
    await alice.client.put(`/rooms/${encoded(roomId)}/state/m.room.power_levels/`, levels)
  }
  await asIrc.post(`/join/${encoded(live)}`)
  expect((await asIrc.post(`${path}/${session}/commit`)).status).toBe(200)
  expect(await state(live, predecessor)).toBe(200)
  expect(await state(history, 'm.room.tombstone')).toBe(200)
})

test('a receipt on what is imported counts as one on what is read before it', async () => {
  const alice = await home.person('alice')
  const bob = await home.person('bob')
  const roomId = await makeRoom(alice)
  await bob.client.post(`/join/${encoded(roomId)}`)
  const one = await say(alice, roomId, 'one')
  const two = await say(alice, roomId, 'two')
  const session = await importAll(
    root.client,
    { room_id: roomId, mode: 'insert', position: { before: two.body.event_id } },
    { people: [{ user_id: ann }], records: messages('m', ann, 3) },
  )
  const receipt = (eventId: string) =>
    bob.client.post(`/rooms/${encoded(roomId)}/receipt/m.read/${encoded(eventId)}`)
  const unread = async () => {
    const { body } = await bob.client.get('/sync?timeout=0')
    return body.rooms.join[roomId].unread_notifications.notification_count
  }
  const { body } = await root.client.post(`${path}/${session}/events`, { src_ids: ['m1'] })
  await receipt(one.body.event_id)
  const before = await unread()
  expect(before).toBe(1)
  expect((await receipt(body.events.m1)).status).toBe(200)
  expect(await unread()).toBe(before)
})
