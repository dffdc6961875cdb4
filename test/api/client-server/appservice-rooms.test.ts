import { describe, expect, test } from 'bun:test'
import { appserviceLogin } from '#core/appservice.ts'
import type { LocalEvent } from '#engine/worker/protocol.ts'
import type { Client } from '#test/client.ts'
import { testDatabase } from '#test/database.ts'
import { acting, ghost, irc, openBridged, sms, told } from './bridge.ts'

const db = await testDatabase()
const home = await openBridged(db)
const alice = await home.person('alice')
const asIrc = home.client.as(irc.asToken)
const asSms = home.client.as(sms.asToken)

test('an application service sees who is joined where any of its users is', async () => {
  const room = await home.story.room(alice.userId)
  const path = `/rooms/${encodeURIComponent(room.roomId)}/joined_members`
  await room.member('@_irc_bob:far.example', 'join')
  await room.member('@smsbot:here.example', 'join')
  await room.member('@ircbot:here.example', 'invite')
  // Alice is a user of its too.
  expect(Object.keys((await asIrc.get(path)).body.joined)).toContain('@smsbot:here.example')
  expect((await asIrc.get(path + acting(await ghost(asIrc)))).status).toBe(200)

  const other = await home.story.room('@someone:here.example')
  const otherPath = `/rooms/${encodeURIComponent(other.roomId)}/joined_members`
  await other.member('@_irc_bob:far.example', 'join')
  expect(told(await asIrc.get(otherPath))).toEqual([403, 'M_FORBIDDEN'])
  expect(told(await alice.client.get(otherPath))).toEqual([403, 'M_FORBIDDEN'])
})

describe('aliases', () => {
  const pathOf = (alias: string) => `/directory/room/${encodeURIComponent(alias)}`
  const set = (client: Client, alias: string, room: { roomId: string }, query = '') =>
    client.put(pathOf(alias) + query, { room_id: room.roomId })

  test('of an exclusive namespace are made by nobody else', async () => {
    const room = await home.story.room(alice.userId)
    await room.member('@ircbot:here.example', 'join')
    await room.member('@smsbot:here.example', 'join')
    const alias = '#_irc_room:here.example'
    expect(told(await set(alice.client, alias, room))).toEqual([400, 'M_EXCLUSIVE'])
    expect(told(await set(asSms, alias, room))).toEqual([400, 'M_EXCLUSIVE'])
    expect(told(await set(asSms, '#other:here.example', room))).toEqual([400, 'M_EXCLUSIVE'])
    expect((await set(asIrc, alias, room)).status).toBe(200)
    expect((await set(alice.client, '#_sms:here.example', room)).status).toBe(200)

    for (const client of [alice.client, asSms])
      expect(told(await client.delete(pathOf(alias)))).toEqual([400, 'M_EXCLUSIVE'])
    // Whoever made it.
    expect((await asSms.delete(pathOf('#_sms:here.example'))).status).toBe(200)
    expect((await asIrc.delete(pathOf(alias))).status).toBe(200)
  })

  test('of new rooms likewise', async () => {
    const body = { room_alias_name: '_irc_new' }
    expect(told(await alice.client.post('/createRoom', body))).toEqual([400, 'M_EXCLUSIVE'])
    expect(told(await asSms.post('/createRoom', body))).toEqual([400, 'M_EXCLUSIVE'])
    home.roomAnswers.create = () => ({ eventId: '$a', shard: 0, position: 0 })
    expect((await asIrc.post('/createRoom', body)).status).toBe(200)
  })
})

describe('the time of an event', () => {
  const landed = { eventId: '$b', shard: 0, position: 0 }
  const ts = 1_234_567_890
  let txn = 0

  /** The last event, membership or join that was asked for. */
  async function askedFor(client: Client, path: string, body: object, query: string) {
    home.roomAnswers = { send: () => landed, changeMembership: () => landed, join: () => landed }
    const room = await home.story.room(alice.userId)
    await room.member('@ircbot:here.example', 'join')
    const answer = await client.put(
      `/rooms/${encodeURIComponent(room.roomId)}/${path}${query}`,
      body,
    )
    return { answer, event: home.roomCalls.at(-1)!.args[1] as LocalEvent }
  }
  const places = (): [string, object][] => [
    [`send/m.room.message/t${++txn}`, { body: 'x' }],
    ['state/m.room.topic', { topic: 'x' }],
    ['state/m.room.member/@ircbot:here.example', { membership: 'join', displayname: 'x' }],
    ['state/m.room.member/@bob:far.example', { membership: 'invite' }],
  ]

  test('is what an application service says', async () => {
    for (const [path, body] of places()) {
      const { event } = await askedFor(asIrc, path, body, `?ts=${ts}`)
      expect([path, event.timestamp]).toEqual([path, ts])
    }
    const { event } = await askedFor(asIrc, ...places()[0]!, '')
    expect(event.timestamp).toBeUndefined()
    const joins = 'state/m.room.member/@_irc_late:here.example'
    await asIrc.post('/register', { type: appserviceLogin, username: '_irc_late' })
    const join = await askedFor(
      asIrc,
      joins,
      { membership: 'join' },
      acting('@_irc_late:here.example', `&ts=${ts}`),
    )
    expect(join.event).toMatchObject({ userId: '@_irc_late:here.example', timestamp: ts })
  })

  test('is not for users to say', async () => {
    for (const [path, body] of places()) {
      const { event } = await askedFor(alice.client, path, body, `?ts=${ts}`)
      expect([path, event.timestamp]).toEqual([path, undefined])
    }
  })

  test('is one that an event can have', async () => {
    for (const odd of ['-1', '1.5', 'now', '9007199254740992', ''])
      for (const [path, body] of places().slice(0, 2)) {
        const { answer } = await askedFor(asIrc, path, body, `?ts=${odd}`)
        expect([odd, ...told(answer)]).toEqual([odd, 400, 'M_INVALID_PARAM'])
      }
  })

  test('goes with the transactions of one user, on a device or on none', async () => {
    const { event } = await askedFor(asIrc, 'send/m.room.message/same', { body: 'x' }, '')
    expect(event.txn).toMatchObject({ userId: '@ircbot:here.example', deviceId: '', txnId: 'same' })
  })
})
