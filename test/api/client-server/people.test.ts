import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import type { SyncAnswer } from '#test/engine/read/story.ts'
import { Living } from './living.ts'

const db = await testDatabase()
let home: Living
beforeAll(async () => {
  home = await Living.open(db.pool)
})
afterAll(() => home.close())

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`
const path = (roomId: string, rest: string) => `/rooms/${encodeURIComponent(roomId)}/${rest}`

async function must(answer: Promise<{ status: number; body: Record<string, unknown> }>) {
  const { status, body } = await answer
  expect({ status, body }).toMatchObject({ status: 200 })
  return body
}

const makeRoom = async (creator: string, wish: object = {}) =>
  (await must(home.post('/createRoom', creator, wish)))['room_id'] as string

const syncOf = async (user: string, query = '') =>
  (await must(home.get(`/sync${query}`, user))) as unknown as SyncAnswer

const members = async (user: string, roomId: string) => {
  const { chunk } = (await must(home.get(path(roomId, 'members'), user))) as {
    chunk: { state_key: string; content: { membership: string } }[]
  }
  return Object.fromEntries(chunk.map((event) => [event.state_key, event.content.membership]))
}

describe.each(['1', '11', '12'])('people in a room of version %s', (room_version) => {
  test('are invited, join, are kicked, banned and let in again', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const roomId = await makeRoom(alice, { room_version, name: 'Den', invite: [bob] })
    const invited = await syncOf(bob)
    const { events } = invited.rooms!.invite![roomId]!.invite_state
    const types = events.map((event) => event.type)
    for (const type of ['m.room.create', 'm.room.join_rules', 'm.room.name', 'm.room.member'])
      expect(types).toContain(type)

    await must(home.post(path(roomId, 'join'), bob))
    expect(await members(alice, roomId)).toEqual({ [alice]: 'join', [bob]: 'join' })
    const joined = await syncOf(bob, `?since=${invited.next_batch}`)
    expect(joined.rooms!.invite).toBeUndefined()
    expect(joined.rooms!.join![roomId]!.timeline.limited).toBe(true)

    // Who is there cannot be invited, nor kick who has more power.
    expect((await home.post(path(roomId, 'invite'), alice, { user_id: bob })).status).toBe(403)
    expect((await home.post(path(roomId, 'kick'), bob, { user_id: alice })).status).toBe(403)

    await must(home.post(path(roomId, 'kick'), alice, { user_id: bob, reason: 'noise' }))
    const kicked = await syncOf(bob, `?since=${joined.next_batch}`)
    expect(kicked.rooms!.leave![roomId]!.timeline.events.at(-1)).toMatchObject({
      sender: alice,
      state_key: bob,
      content: { membership: 'leave', reason: 'noise' },
    })
    expect((await home.post(path(roomId, 'join'), bob)).status).toBe(403)

    await must(home.post(path(roomId, 'ban'), alice, { user_id: bob }))
    expect((await home.post(path(roomId, 'invite'), alice, { user_id: bob })).status).toBe(403)
    await must(home.post(path(roomId, 'unban'), alice, { user_id: bob }))
    await must(home.post(path(roomId, 'invite'), alice, { user_id: bob }))
    const again = await syncOf(bob, `?since=${kicked.next_batch}`)
    expect(Object.keys(again.rooms!.invite!)).toEqual([roomId])
    await must(home.post(path(roomId, 'leave'), bob))
    await must(home.post(path(roomId, 'forget'), bob))
    expect(await members(alice, roomId)).toEqual({ [alice]: 'join', [bob]: 'leave' })
  })

  test('see history as its visibility lets them', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const bodies = async (roomId: string) => {
      const { chunk } = (await must(home.get(path(roomId, 'messages?dir=b&limit=50'), bob))) as {
        chunk: { content: { body?: string } }[]
      }
      return chunk.flatMap((event) => event.content.body ?? [])
    }
    for (const [visibility, seen] of [
      ['shared', ['after', 'before']],
      ['joined', ['after']],
    ] as const) {
      const roomId = await makeRoom(alice, {
        room_version,
        preset: 'public_chat',
        initial_state: [
          { type: 'm.room.history_visibility', content: { history_visibility: visibility } },
        ],
      })
      await must(home.put(path(roomId, 'send/m.room.message/1'), alice, { body: 'before' }))
      await must(home.post(path(roomId, 'join'), bob))
      await must(home.put(path(roomId, 'send/m.room.message/2'), alice, { body: 'after' }))
      expect(await bodies(roomId)).toEqual([...seen])
      await must(home.post(path(roomId, 'leave'), bob))
      await must(home.put(path(roomId, 'send/m.room.message/3'), alice, { body: 'later' }))
      expect(await bodies(roomId)).toEqual([...seen])
    }
  })

  test('redact what they sent, and what they have the power to', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const roomId = await makeRoom(alice, { room_version, preset: 'public_chat' })
    await must(home.post(path(roomId, 'join'), bob))
    const send = async (user: string, txn: string) =>
      (await must(home.put(path(roomId, `send/m.room.message/${txn}`), user, { body: txn })))[
        'event_id'
      ] as string
    const [hers, his, other] = [await send(alice, '1'), await send(bob, '2'), await send(bob, '3')]
    const redact = (user: string, eventId: string) =>
      home.put(path(roomId, `redact/${eventId}/${user}${eventId}`), user, {})
    expect((await redact(bob, hers)).status).toBe(403)
    await must(redact(bob, his))
    await must(redact(alice, other))
    for (const eventId of [his, other]) {
      const event = await must(home.get(path(roomId, `event/${eventId}`), bob))
      expect(event['content']).toEqual({})
    }
    const event = await must(home.get(path(roomId, `event/${hers}`), bob))
    expect(event['content']).toEqual({ body: '1' })
  })
})

test('a follower of a busy room sees every message once, in an order that does not change', async () => {
  const people = Array.from({ length: 4 }, () => someone('person'))
  const roomId = await makeRoom(people[0]!, { preset: 'public_chat' })
  for (const person of people.slice(1)) await must(home.post(path(roomId, 'join'), person))
  const follower = people[0]!
  let { next_batch: since } = await syncOf(follower)
  const sent: string[] = []
  let writing = true
  const done = Promise.all(
    people.map(async (person) => {
      for (let each = 0; each < 25; each++) {
        const send = path(roomId, `send/m.room.message/${each}`)
        sent.push((await must(home.put(send, person, { body: `${each}` })))['event_id'] as string)
      }
    }),
  ).finally(() => (writing = false))
  const found: string[] = []
  const filter = encodeURIComponent('{"room":{"timeline":{"limit":100}}}')
  for (;;) {
    const last = !writing
    const answer = await syncOf(
      follower,
      `?since=${since}&filter=${filter}&timeout=${last ? 0 : 20}`,
    )
    since = answer.next_batch
    const room = answer.rooms?.join?.[roomId]
    expect(room?.timeline.limited ?? false).toBe(false)
    found.push(...(room?.timeline.events ?? []).map((event) => event.event_id))
    if (last && !room) break
  }
  await done
  expect(found.toSorted()).toEqual(sent.toSorted())
  const { chunk } = (await must(home.get(path(roomId, 'messages?dir=b&limit=100'), follower))) as {
    chunk: { event_id: string }[]
  }
  expect(chunk.map((event) => event.event_id)).toEqual(found.toReversed())
})
