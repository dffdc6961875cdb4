import { beforeEach, describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { isTransient, malformed } from '#engine/federation/answer.ts'
import * as remoteEvents from '#engine/federation/remote-events.ts'
import * as membership from '#engine/federation/remote-membership.ts'
import * as queries from '#engine/federation/remote-queries.ts'
import type { OutgoingAnswer } from '#engine/worker/protocol.ts'
import { MadeUpFederation } from '#test/builders.ts'

const peer = 'peer.test'
const roomId = '!a/b:peer.test'
const userId = '@me:here.test'
const eventId = '$a/b:peer.test'
let federation: MadeUpFederation

beforeEach(() => {
  federation = new MadeUpFederation()
})

const says = (body: Json, status = 200) => {
  federation.answer = (): OutgoingAnswer => ({ status, body: JSON.stringify(body) })
}
const last = () => federation.requests.at(-1)!

async function failure(asked: Promise<unknown>): Promise<RemoteError> {
  const error: unknown = await asked.catch((thrown: unknown) => thrown)
  if (!(error instanceof RemoteError)) throw new Error(`It did not fail: ${String(error)}`)
  return error
}

describe('a request', () => {
  test('has a deadline and a cap, and every part of its path is encoded', async () => {
    says({ pdus: [], auth_chain: [] })
    await remoteEvents.getState(federation, peer, roomId, eventId)
    expect(last().uri).toBe(
      '/_matrix/federation/v1/state/!a%2Fb%3Apeer.test?event_id=%24a%2Fb%3Apeer.test',
    )
    expect(last().deadlineMs).toBeGreaterThan(0)
    expect(last().maxBytes).toBeGreaterThan(0)
    await remoteEvents.getState(federation, peer, roomId, eventId, { deadlineMs: 7 })
    expect(last().deadlineMs).toBe(7)
  })

  test('that is refused fails with what the other server said', async () => {
    says({ errcode: 'M_FORBIDDEN', error: 'No' }, 403)
    const error = await failure(remoteEvents.getStateIds(federation, peer, roomId, eventId))
    expect([error.server, error.status, error.errcode, error.message]).toEqual([
      peer,
      403,
      'M_FORBIDDEN',
      'No',
    ])
    expect(isTransient(error)).toBe(false)
    federation.answer = () => ({ status: 502, body: '<html>' })
    const proxy = await failure(remoteEvents.getStateIds(federation, peer, roomId, eventId))
    expect([proxy.errcode, isTransient(proxy)]).toEqual(['M_UNKNOWN', true])
  })

  test.each<[string, Json]>([
    ['is no object', []],
    ['has no list', { pdu_ids: [] }],
    ['has a list of something else', { pdu_ids: [1], auth_chain_ids: [] }],
    ['lists what is no event ID', { pdu_ids: ['no'], auth_chain_ids: [] }],
  ])('whose answer %s fails', async (_name, body) => {
    says(body)
    const error = await failure(remoteEvents.getStateIds(federation, peer, roomId, eventId))
    expect(error.errcode).toBe(malformed)
  })

  test('for missing events takes no more of them than it asked for', async () => {
    const events = Array.from({ length: 11 }, () => ({}))
    const wanted = { earliest: ['$a:x'], latest: ['$b:x'], limit: 10 }
    says({ events })
    expect(
      (await failure(remoteEvents.getMissingEvents(federation, peer, roomId, wanted))).errcode,
    ).toBe(malformed)
    says({ events: events.slice(1) })
    expect(await remoteEvents.getMissingEvents(federation, peer, roomId, wanted)).toHaveLength(10)
    expect(JSON.parse(last().body!)).toEqual({
      earliest_events: ['$a:x'],
      latest_events: ['$b:x'],
      limit: 10,
      min_depth: 0,
    })
  })

  test('for an event that is not there, or not shown, answers nothing', async () => {
    says({ errcode: 'M_NOT_FOUND', error: '' }, 404)
    expect(await remoteEvents.getEvent(federation, peer, eventId)).toBeUndefined()
    says({ errcode: 'M_FORBIDDEN', error: '' }, 403)
    expect(await remoteEvents.getEvent(federation, peer, eventId)).toBeUndefined()
    says({ pdus: [{ type: 'x' }] })
    expect(await remoteEvents.getEvent(federation, peer, eventId)).toEqual({ type: 'x' })
    says({ pdus: [] })
    await failure(remoteEvents.getEvent(federation, peer, eventId))
  })

  test('for history names where it begins', async () => {
    says({ pdus: [{}, {}] })
    await remoteEvents.backfill(federation, peer, roomId, ['$a:x', '$b:x'], 20)
    expect(last().uri).toEndWith('?v=%24a%3Ax&v=%24b%3Ax&limit=20')
  })
})

describe('a template', () => {
  const event: JsonObject = {
    type: 'm.room.member',
    room_id: roomId,
    sender: userId,
    state_key: userId,
    content: { membership: 'join' },
  }
  const join = () => membership.makeJoin(federation, peer, roomId, userId, ['10', '11'])

  test('is taken if it is what was asked for', async () => {
    says({ room_version: '11', event })
    expect(await join()).toEqual({ version: '11', event })
    expect(last().uri).toEndWith('?ver=10&ver=11')
  })

  test.each<[string, Json]>([
    ['is of another type', { ...event, type: 'm.room.power_levels' }],
    ['is of another room', { ...event, room_id: '!x:peer.test' }],
    ['is of another sender', { ...event, sender: '@you:here.test' }],
    ['is for another user', { ...event, state_key: '@you:here.test' }],
    ['is of another membership', { ...event, content: { membership: 'leave' } }],
    ['has no content', { ...event, content: 'join' }],
    ['is no object', 'join'],
  ])('that %s is refused, whoever might sign it', async (_name, lie) => {
    says({ room_version: '11', event: lie })
    expect((await failure(join())).errcode).toBe(malformed)
  })

  test('for leaving is held to the same', async () => {
    const leave = { ...event, content: { membership: 'leave' } }
    says({ event })
    await failure(membership.makeLeave(federation, peer, roomId, userId))
    says({ event: { ...leave, sender: '@you:here.test' } })
    await failure(membership.makeLeave(federation, peer, roomId, userId))
    says({ event: leave })
    expect(await membership.makeLeave(federation, peer, roomId, userId)).toEqual({
      version: undefined,
      event: leave,
    })
  })

  test('of a room version that was not offered is refused', async () => {
    says({ room_version: '12', event })
    await failure(join())
    // Not said: version 1.
    says({ event })
    await failure(join())
    expect(await membership.makeJoin(federation, peer, roomId, userId, ['1'])).toEqual({
      version: '1',
      event,
    })
  })
})

describe('a join', () => {
  const send = () => membership.sendJoin(federation, peer, roomId, eventId, '{"a":1}')

  test('brings state, auth chain, the event to use, and the servers that are servers', async () => {
    says({
      state: [{ a: 1 }],
      auth_chain: [{ b: 1 }],
      event: { c: 1 },
      members_omitted: true,
      servers_in_room: ['a.test', 7, 'no server'],
    })
    expect(await send()).toEqual({
      state: [{ a: 1 }],
      authChain: [{ b: 1 }],
      event: { c: 1 },
      membersOmitted: true,
      serversInRoom: ['a.test'],
    })
    expect(last().body).toBe('{"a":1}')
    expect(last().uri).toStartWith('/_matrix/federation/v2/send_join/')
  })

  test.each<Json>([
    { auth_chain: [] },
    { state: [], auth_chain: {} },
    { state: [], auth_chain: [], event: [] },
    { state: ['x'], auth_chain: [] },
  ])('with a malformed answer fails: %j', async (body) => {
    says(body)
    expect((await failure(send())).errcode).toBe(malformed)
  })
})

describe('an invite', () => {
  const invite = (version: string) =>
    membership.invite(federation, peer, {
      roomId,
      eventId,
      version,
      event: '{"type":"m.room.member"}',
      inviteRoomState: ['{"n":1}'],
    })
  const answers = (...list: [number, Json][]) => {
    federation.answer = () => {
      const [status, body] = list.shift()!
      return { status, body: JSON.stringify(body) }
    }
  }

  test('is sent with its room version and state', async () => {
    answers([200, { event: { signed: true } }])
    expect(await invite('11')).toEqual({ signed: true })
    expect(JSON.parse(last().body!)).toEqual({
      room_version: '11',
      event: { type: 'm.room.member' },
      invite_room_state: [{ n: 1 }],
    })
  })

  test('is sent the old way to a server that does not know the new one, in old rooms', async () => {
    const unknown: [number, Json] = [404, { errcode: 'M_UNRECOGNIZED', error: '' }]
    answers(unknown, [200, [200, { event: { signed: true } }]])
    expect(await invite('1')).toEqual({ signed: true })
    expect(last().uri).toStartWith('/_matrix/federation/v1/invite/')
    expect(JSON.parse(last().body!)).toEqual({
      type: 'm.room.member',
      unsigned: { invite_room_state: [{ n: 1 }] },
    })
    answers(unknown)
    expect((await failure(invite('3'))).status).toBe(404)
    answers([403, { errcode: 'M_FORBIDDEN', error: '' }])
    expect((await failure(invite('1'))).errcode).toBe('M_FORBIDDEN')
  })

  test('without an event in the answer fails', async () => {
    answers([200, {}])
    expect((await failure(invite('11'))).errcode).toBe(malformed)
  })
})

describe('a query', () => {
  test('for a profile answers it, or nothing', async () => {
    says({ displayname: 'A' })
    expect(await queries.queryProfile(federation, peer, '@a:peer.test', 'displayname')).toEqual({
      displayname: 'A',
    })
    expect(last().uri).toEndWith('?user_id=%40a%3Apeer.test&field=displayname')
    says({ errcode: 'M_NOT_FOUND', error: '' }, 404)
    expect(await queries.queryProfile(federation, peer, '@a:peer.test')).toBeUndefined()
  })

  test('for an alias answers a room and servers that are servers', async () => {
    says({ room_id: roomId, servers: ['a.test', 'no server', 1] })
    expect(await queries.queryDirectory(federation, peer, '#a:peer.test')).toEqual({
      roomId,
      servers: ['a.test'],
    })
    says({ room_id: 'no room', servers: [] })
    await failure(queries.queryDirectory(federation, peer, '#a:peer.test'))
    says({ room_id: roomId })
    await failure(queries.queryDirectory(federation, peer, '#a:peer.test'))
  })

  test('for public rooms leaves out what clients could not be given', async () => {
    const good = {
      room_id: roomId,
      num_joined_members: 1,
      world_readable: false,
      guest_can_join: false,
    }
    says({ chunk: [good, { ...good, room_id: 7 }, {}], next_batch: 'n', prev_batch: 1 })
    expect(await queries.publicRooms(federation, peer, { limit: 5 })).toEqual({
      chunk: [good],
      next_batch: 'n',
    })
    expect([last().method, last().uri]).toEqual([
      'GET',
      '/_matrix/federation/v1/publicRooms?limit=5',
    ])
    await queries.publicRooms(federation, peer, { filter: { generic_search_term: 'x' } })
    expect(last().method).toBe('POST')
    expect(JSON.parse(last().body!)).toEqual({ filter: { generic_search_term: 'x' } })
  })
})
