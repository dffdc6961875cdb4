import { afterAll, beforeAll, expect, test } from 'bun:test'
import { eventIdOf } from '#core/event/hash.ts'
import type { JsonObject } from '#core/json.ts'
import { eventFlags } from '#store/room/batch.ts'
import { until } from '#test/room-engine.ts'
import type { Peer } from '#test/peer.ts'
import type { Person } from '#test/api/server-server/two-homes.ts'
import { Home } from './home.ts'
import { type Fate, hostile, type Scene } from './hostile.ts'

const home = await Home.open('peer.test')
afterAll(() => home.remove())

let alice: Person
let peer: Peer
let scene: Scene
/** Of another room, in another lane. */
let elsewhere: Scene

beforeAll(async () => {
  alice = await home.server.person('alice')
  peer = home.peers[0]!
  const sender = peer.user('bob')
  const [roomId, otherRoomId] = [await home.room(alice), await home.room(alice)]
  const room = await home.joined(peer, roomId, 'bob')
  scene = { peer, room, sender, otherRoomId }
  elsewhere = { ...scene, room: await home.joined(peer, otherRoomId, 'bob'), otherRoomId: roomId }
})

async function kept(eventId: string | undefined) {
  if (eventId === undefined) return undefined
  const [row] = await home.database.pool<
    { flags: number; position: number | null; json: string }[]
  >`
    select e.flags, e.position, j.json
    from event_ids i
    join events e on e.shard = i.shard and e.event_nid = i.event_nid
    join event_json j on j.shard = e.shard and j.event_nid = e.event_nid
    where i.event_id = ${Buffer.from(eventId.slice(1), 'base64url')}`
  return row
}

async function inboxRows(): Promise<number> {
  const [row] = await home.database.pool<{ rows: number }[]>`
    select count(*)::integer as rows from inbox`
  return row!.rows
}

async function expectFate(fate: Fate, pdu: JsonObject, eventId: string | undefined) {
  const row = await kept(eventId)
  switch (fate) {
    case 'refused':
    case 'dropped':
    case 'parked':
      expect(row).toBeUndefined()
      break
    case 'rejected':
      expect(row).toMatchObject({ flags: eventFlags.rejected, position: null })
      break
    case 'redacted':
      expect(row).toMatchObject({ flags: 0 })
      expect((JSON.parse(row!.json) as JsonObject)['content']).toEqual({})
      break
    case 'accepted':
      // Kept as it was signed: it has its ID over the wire again.
      expect(row).toMatchObject({ flags: 0 })
      expect(eventIdOf(scene.room.version, JSON.parse(row!.json) as JsonObject)).toBe(eventId)
      expect(JSON.parse(row!.json)).toEqual(pdu)
  }
}

let parked = 0

for (const { name, fate, pdu: make } of hostile)
  test(`${name}: ${fate}, and nobody waits for it`, async () => {
    const pdu = make(scene)
    const eventId = eventIdOf(scene.room.version, pdu)
    const good = scene.room.say(scene.sender, `good beside ${name}`)
    const next = elsewhere.room.say(elsewhere.sender, `elsewhere beside ${name}`)

    const { status, body } = await home.send(peer, [pdu, good, next])
    expect(status).toBe(200)
    const results = body['pdus'] as { [id: string]: { error?: string } }
    expect(results[good.eventId]).toEqual({})
    expect(results[next.eventId]).toEqual({})
    const told = eventId === undefined ? undefined : results[eventId]
    if (fate !== 'refused') expect(told).toEqual({})
    else if (told) expect(told.error).toBeString()

    // What came with it is there, and so is what is sent after it.
    await until(async () => (await kept(good.eventId)) !== undefined)
    await until(async () => (await kept(next.eventId)) !== undefined)
    await alice.say(scene.room.roomId, `after ${name}`)
    if (fate === 'parked') parked++
    await until(async () => (await inboxRows()) === parked)
    await expectFate(fate, pdu, eventId)
  })

test('a body that nests 100,000 deep is refused before anybody looks into it', async () => {
  const deep = '['.repeat(100_000) + ']'.repeat(100_000)
  const response = await fetch(`${home.base}/_matrix/federation/v1/send/deep`, {
    method: 'PUT',
    headers: { authorization: 'X-Matrix origin="peer.test",key="ed25519:a",sig="AAAA"' },
    body: `{"origin":"peer.test","origin_server_ts":1,"pdus":[${deep}]}`,
  })
  expect([400, 401, 403]).toContain(response.status)
  await alice.say(scene.room.roomId, 'after it')
})

test('nothing was put aside as a fault of ours, and no prototype was changed', async () => {
  const rows = await home.database.pool`select error from inbox_quarantine`
  expect([...rows]).toEqual([])
  expect(({} as { polluted?: string }).polluted).toBeUndefined()
  // The client reads the room to its beginning.
  const texts = await alice.texts(scene.room.roomId)
  expect(texts.length).toBeGreaterThan(50)
})
