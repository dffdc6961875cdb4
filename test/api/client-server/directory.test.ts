import { describe, expect, test } from 'bun:test'
import { RemoteError, forbidden } from '#core/error.ts'
import type { LocalEvent } from '#engine/worker/protocol.ts'
import { testDatabase } from '#test/database.ts'
import type { StoryRoom } from '#test/engine/read/story.ts'
import { Home, type Person } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)
const alice = await home.person('alice')
const bob = await home.person('bob')
const root = await home.person('root', { admin: true })

let count = 0
const newAlias = () => `#alias${++count}:here.example`
const pathOf = (alias: string) => `/directory/room/${encodeURIComponent(alias)}`
const set = (who: Person, alias: string, room: { roomId: string }) =>
  who.client.put(pathOf(alias), { room_id: room.roomId })
const told = ({ status, body }: { status: number; body: { errcode?: string } }) => [
  status,
  body.errcode,
]

/** A room of alice's, with bob and someone from afar. */
async function makeRoom(): Promise<StoryRoom> {
  const room = await home.story.room(alice.userId)
  await room.member(bob.userId, 'join')
  await room.member('@carol:far.example', 'join')
  return room
}

describe('an alias', () => {
  test('leads to its room, and to the servers in it', async () => {
    const room = await makeRoom()
    const alias = newAlias()
    expect(told(await home.client.get(pathOf(alias)))).toEqual([404, 'M_NOT_FOUND'])
    expect(await set(alice, alias, room)).toMatchObject({ status: 200, body: {} })
    expect((await home.client.get(pathOf(alias))).body).toEqual({
      room_id: room.roomId,
      servers: ['here.example', 'far.example'],
    })
  })

  test('is made by members, for a room and a name of this server, once', async () => {
    const room = await makeRoom()
    const alias = newAlias()
    const stranger = await home.person('stranger')
    expect(told(await set(stranger, alias, room))).toEqual([403, 'M_FORBIDDEN'])
    expect(told(await set(alice, alias, { roomId: '!no:here.example' }))).toEqual([
      403,
      'M_FORBIDDEN',
    ])
    expect(told(await set(root, alias, { roomId: '!no:here.example' }))).toEqual([
      403,
      'M_FORBIDDEN',
    ])
    for (const odd of ['#a:far.example', '#a', '#a:not a server'])
      expect(told(await set(alice, odd, room))).toEqual([400, 'M_INVALID_PARAM'])
    expect(told(await alice.client.put(pathOf(alias), {}))).toEqual([400, 'M_BAD_JSON'])
    expect((await set(bob, alias, room)).status).toBe(200)
    expect(told(await set(alice, alias, room))).toEqual([409, 'M_UNKNOWN'])
    expect((await set(root, newAlias(), room)).status).toBe(200)
  })

  test('of another server is asked of that server', async () => {
    const answers = new Map([
      ['#a:far.example', { status: 200, body: '{"room_id":"!r:far.example","servers":["x.y"]}' }],
      ['#b:far.example', { status: 200, body: '{"room_id":7,"servers":[]}' }],
    ])
    home.federation.answer = ({ uri, destination }) => {
      const alias = new URL(uri, 'http://x').searchParams.get('room_alias')!
      const answer = answers.get(alias)
      if (!answer) throw new RemoteError(destination, 404, 'M_NOT_FOUND', 'no such alias')
      return answer
    }
    expect((await home.client.get(pathOf('#a:far.example'))).body).toEqual({
      room_id: '!r:far.example',
      servers: ['x.y', 'far.example'],
    })
    expect(told(await home.client.get(pathOf('#b:far.example')))[0]).toBe(502)
    expect(told(await home.client.get(pathOf('#c:far.example')))).toEqual([404, 'M_NOT_FOUND'])
  })
})

describe('deleting an alias', () => {
  test('is for its maker, for who may set the main alias, and for an administrator', async () => {
    const room = await makeRoom()
    const [ofBob, ofAlice, other] = [newAlias(), newAlias(), newAlias()]
    await set(bob, ofBob, room)
    await set(alice, ofAlice, room)
    await set(alice, other, room)
    expect(told(await bob.client.delete(pathOf(ofAlice)))).toEqual([403, 'M_FORBIDDEN'])
    expect((await bob.client.delete(pathOf(ofBob))).status).toBe(200)
    expect((await root.client.delete(pathOf(other))).status).toBe(200)
    expect((await alice.client.delete(pathOf(ofAlice))).status).toBe(200)
    expect(told(await home.client.get(pathOf(ofAlice)))).toEqual([404, 'M_NOT_FOUND'])
    expect(told(await alice.client.delete(pathOf(ofAlice)))).toEqual([404, 'M_NOT_FOUND'])
    expect(home.roomCalls).toEqual([])
  })

  test('takes it out of the canonical aliases of the room', async () => {
    const room = await makeRoom()
    const [main, second] = [newAlias(), newAlias()]
    await set(alice, main, room)
    await set(alice, second, room)
    const sent: LocalEvent[] = []
    home.roomAnswers.send = async (_roomId, event) => {
      sent.push(event)
      const content = JSON.parse(event.content) as Record<string, string>
      const { eventId, position } = await room.state(event.sender, event.type, '', content)
      return { eventId, shard: room.shard, position }
    }
    await room.state(alice.userId, 'm.room.canonical_alias', '', {
      alias: main,
      alt_aliases: [second, '#far:far.example'],
      more: 1,
    })
    expect((await alice.client.delete(pathOf(second))).status).toBe(200)
    expect(JSON.parse(sent[0]!.content)).toEqual({
      alias: main,
      alt_aliases: ['#far:far.example'],
      more: 1,
    })
    expect((await alice.client.delete(pathOf(main))).status).toBe(200)
    expect(JSON.parse(sent[1]!.content)).toEqual({ alt_aliases: ['#far:far.example'], more: 1 })
    expect(sent).toHaveLength(2)
  })

  test('does not depend on whether the room can be told', async () => {
    const room = await makeRoom()
    const [ofBob, ofAlice] = [newAlias(), newAlias()]
    await set(bob, ofBob, room)
    await set(alice, ofAlice, room)
    await room.state(alice.userId, 'm.room.canonical_alias', '', {
      alias: ofBob,
      alt_aliases: [ofAlice],
    })
    home.roomCalls.length = 0
    home.roomAnswers.send = () => {
      throw forbidden('the room says no')
    }
    // Bob may not set it, and so it is not tried.
    expect((await bob.client.delete(pathOf(ofBob))).status).toBe(200)
    expect(home.roomCalls).toEqual([])
    expect((await alice.client.delete(pathOf(ofAlice))).status).toBe(200)
    expect(home.roomCalls).toHaveLength(1)
    expect(told(await home.client.get(pathOf(ofAlice)))).toEqual([404, 'M_NOT_FOUND'])
  })
})

describe('the aliases of a room', () => {
  test('are told to its members, and to all where anyone may read', async () => {
    const room = await makeRoom()
    const [one, two] = [newAlias(), newAlias()]
    await set(bob, two, room)
    await set(alice, one, room)
    const path = `/rooms/${encodeURIComponent(room.roomId)}/aliases`
    expect((await bob.client.get(path)).body).toEqual({ aliases: [one, two].sort() })
    const stranger = await home.person('stranger')
    expect(told(await stranger.client.get(path))).toEqual([403, 'M_FORBIDDEN'])
    await room.state(alice.userId, 'm.room.history_visibility', '', {
      history_visibility: 'world_readable',
    })
    expect((await stranger.client.get(path)).body.aliases).toHaveLength(2)
    expect(told(await stranger.client.get('/rooms/!no:here.example/aliases'))[0]).toBe(403)
  })
})
