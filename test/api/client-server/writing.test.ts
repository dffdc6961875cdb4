import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import { forbidden } from '#core/error.ts'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { Front, RawBody } from './front.ts'

const db = await testDatabase()
let story: Story
let front: Front
let alice: string
let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`
beforeAll(async () => {
  story = await Story.begin(db.pool)
  front = new Front(story)
})
afterAll(() => front.close())
beforeEach(() => {
  front.answer = Front.landed
  front.calls.length = 0
  alice = someone('alice')
})

const at = '!room:here.example'
const room = `/rooms/${encodeURIComponent(at)}`
const json = (text: unknown) => JSON.parse(text as string) as Record<string, unknown>

describe('sending', () => {
  test('passes on type, content and transaction', async () => {
    const { status, body } = await front.put(`${room}/send/m.room.message/t1`, alice, { body: 'x' })
    expect(status).toBe(200)
    expect(body).toEqual({ event_id: expect.any(String) })
    expect(front.lastCall).toEqual({
      method: 'send',
      roomId: at,
      request: {
        sender: alice,
        type: 'm.room.message',
        content: '{"body":"x"}',
        txn: { userId: alice, deviceId: 'DEVICE', path: `${at}/send/m.room.message`, txnId: 't1' },
      },
    })
  })

  test('numbers keep the digits that came', async () => {
    const text = '{"big":9007199254740993,"float":1.50}'
    await front.put(`${room}/send/org.example/t1`, alice, new RawBody(text))
    expect(front.lastCall!.request['content']).toBe(text)
  })

  test('a redaction names its target, by either call', async () => {
    await front.put(`${room}/redact/$target/t1`, alice, { reason: 'rude' })
    expect(front.lastCall!.request).toMatchObject({ type: 'm.room.redaction', redacts: '$target' })
    expect(json(front.lastCall!.request['content'])).toEqual({ reason: 'rude', redacts: '$target' })
    await front.put(`${room}/send/m.room.redaction/t2`, alice, { redacts: '$target' })
    expect(front.lastCall!.request).toMatchObject({ redacts: '$target' })
  })

  test('what is malformed goes nowhere', async () => {
    const bad = [
      await front.put(`/rooms/nonsense/send/m.room.message/t`, alice, {}),
      await front.put(`${room}/send/m.room.message/t`, alice, [1]),
      await front.put(`${room}/redact/nonsense/t`, alice, {}),
      await front.post(`${room}/kick`, alice, { reason: 'no user' }),
      await front.post(`${room}/ban`, alice, { user_id: 5 }),
      await front.post(`${room}/invite`, alice, {}),
      await front.post(`${room}/invite`, alice, { user_id: 'bob' }),
      await front.post('/join/nonsense', alice),
    ]
    for (const { status } of bad) expect(status).toBe(400)
    expect(front.calls).toEqual([])
  })

  test('what the room refuses is told', async () => {
    front.answer = () => {
      throw forbidden('too little power')
    }
    expect(await front.put(`${room}/send/m.room.message/t`, alice, {})).toMatchObject({
      status: 403,
      body: { errcode: 'M_FORBIDDEN', error: 'too little power' },
    })
  })
})

describe('setting state', () => {
  test('goes with its key, or an empty one', async () => {
    await front.put(`${room}/state/org.example/a%2Fb`, alice, { n: 1 })
    expect(front.lastCall!.request).toMatchObject({ type: 'org.example', stateKey: 'a/b' })
    for (const path of [`${room}/state/m.room.topic`, `${room}/state/m.room.topic/`]) {
      await front.put(path, alice, { topic: 'tea' })
      expect(front.lastCall!.request).toMatchObject({ type: 'm.room.topic', stateKey: '' })
    }
  })

  test('a membership goes the way that the spec has for it', async () => {
    const bob = someone('bob')
    await front.put(`${room}/state/m.room.member/${bob}`, alice, {
      membership: 'invite',
      reason: 'do',
    })
    expect(front.lastCall).toMatchObject({
      method: 'changeMembership',
      request: { sender: alice, target: bob, membership: 'invite' },
    })
    await front.put(`${room}/state/m.room.member/${alice}`, alice, { membership: 'join' })
    expect(front.lastCall).toMatchObject({ method: 'join', request: { userId: alice } })
    const own = await story.room(alice)
    const path = `/rooms/${encodeURIComponent(own.roomId)}/state/m.room.member/${alice}`
    await front.put(path, alice, { membership: 'join', displayname: 'Al' })
    expect(front.lastCall).toMatchObject({ method: 'send', request: { stateKey: alice } })
    expect((await front.put(path, alice, { membership: 'odd' })).status).toBe(400)
    expect(
      (await front.put(`${room}/state/m.room.member/bob`, alice, { membership: 'ban' })).status,
    ).toBe(400)
  })

  test('who authorised a join is for servers to say', async () => {
    const own = await story.room(alice, { version: '11' })
    const path = `/rooms/${encodeURIComponent(own.roomId)}/state/m.room.member/${alice}`
    const content = { membership: 'join', displayname: 'Al' }
    await front.put(path, alice, { ...content, join_authorised_via_users_server: 'unused' })
    expect(json(front.lastCall!.request['content'])).toEqual(content)
  })

  test('what no rights make right is malformed, not forbidden', async () => {
    const bob = someone('bob')
    for (const version of ['11', '12']) {
      const own = await story.room(alice, { version })
      const path = `/rooms/${encodeURIComponent(own.roomId)}/state`
      front.calls.length = 0
      expect(await front.put(`${path}/m.room.create/`, alice, {})).toMatchObject({
        status: 400,
        body: { errcode: 'M_BAD_JSON' },
      })
      expect(front.calls).toEqual([])
      const levels = (user: string) =>
        front.put(`${path}/m.room.power_levels/`, alice, { users: { [user]: 60 } })
      expect((await levels(bob)).status).toBe(200)
      // v12+: the power of who made the room cannot be set.
      expect((await levels(alice)).status).toBe(version === '12' ? 400 : 200)
    }
  })

  test('what is set already makes no second event', async () => {
    const own = await story.room(alice)
    const bob = someone('bob')
    await own.member(bob, 'join')
    const topic = await own.state(alice, 'm.room.topic', '', { topic: 'tea', n: 1 })
    const path = `/rooms/${encodeURIComponent(own.roomId)}/state/m.room.topic`
    const same = await front.put(path, alice, { n: 1, topic: 'tea' })
    expect(same.body).toEqual({ event_id: topic.eventId })
    expect(front.calls).toEqual([])
    await front.put(path, alice, { n: 2, topic: 'tea' })
    await front.put(path, bob, { n: 1, topic: 'tea' })
    expect(front.calls).toHaveLength(2)
    const join = `/rooms/${encodeURIComponent(own.roomId)}/join`
    expect((await front.post(join, bob)).body).toEqual({ room_id: own.roomId })
    expect(front.calls).toHaveLength(2)
    await front.post(join, bob, { 'org.example': 1 })
    expect(json(front.lastCall!.request['content'])).toEqual({ 'org.example': 1 })
  })

  test('an alias must point to the room, unless it did before', async () => {
    const own = await story.room(alice)
    const path = `/rooms/${encodeURIComponent(own.roomId)}/state/m.room.canonical_alias`
    await db.pool`
      insert into room_aliases (alias, room_id, creator, created_at) values
        (${`#own${count}:here.example`}, ${own.roomId}, ${alice}, 0),
        (${`#other${count}:here.example`}, '!other:here.example', ${alice}, 0)`
    const alias = `#own${count}:here.example`
    const put = (content: object) => front.put(path, alice, content)
    expect((await put({ alias })).status).toBe(200)
    expect((await put({ alias, alt_aliases: [alias] })).status).toBe(200)
    expect((await put({})).status).toBe(200)
    for (const bad of [`#other${count}:here.example`, '#none:here.example', '#gone:away.example'])
      expect(await put({ alias: bad })).toMatchObject({
        status: 400,
        body: { errcode: 'M_BAD_ALIAS' },
      })
    expect(await put({ alias: 'nonsense' })).toMatchObject({
      status: 400,
      body: { errcode: 'M_INVALID_PARAM' },
    })
    await own.state(alice, 'm.room.canonical_alias', '', { alt_aliases: ['#gone:away.example'] })
    expect((await put({ alt_aliases: ['#gone:away.example'] })).status).toBe(200)
  })
})

describe('membership', () => {
  const content = () => json(front.lastCall!.request['content'])

  test('a join and an invite say what the user is called', async () => {
    await front.ctx.users.call('putProfileField', alice, 'displayname', '"Alice"')
    await front.post(`${room}/join`, alice, { reason: 'fun' })
    expect(front.lastCall).toMatchObject({ method: 'join', roomId: at })
    expect(content()).toEqual({ displayname: 'Alice', reason: 'fun' })
    const bob = someone('bob')
    await front.post(`${room}/invite`, bob, { user_id: alice })
    expect(front.lastCall!.request).toMatchObject({ membership: 'invite', target: alice })
    expect(content()).toEqual({ displayname: 'Alice' })
  })

  test('a join goes through the servers named, those who invited, and those of the alias', async () => {
    const afar = '!room:afar.example'
    const invite = await story.room('@carol:inviter.example', { roomId: afar })
    await invite.member(alice, 'invite', { by: '@carol:inviter.example' })
    const { status } = await front.post(
      `/join/${encodeURIComponent(afar)}?via=one.example&via=bad%20name&server_name=two.example`,
      alice,
    )
    expect(status).toBe(200)
    expect(front.lastCall!.request['via']).toEqual([
      'one.example',
      'two.example',
      'inviter.example',
    ])
    // The domain of the room's ID says nothing about who is in it: it is the last resort.
    await front.post(`/join/${encodeURIComponent('!other:afar.example')}`, alice)
    expect(front.lastCall!.request['via']).toEqual(['afar.example'])
    // We are no other server.
    await front.post(`/join/${encodeURIComponent('!other:afar.example')}?via=here.example`, alice)
    expect(front.lastCall!.request['via']).toEqual(['afar.example'])
    front.federation.answer = ({ destination, uri }) => {
      expect(destination).toBe('away.example')
      expect(uri).toContain(encodeURIComponent('#den:away.example'))
      return {
        status: 200,
        body: JSON.stringify({ room_id: '!den:away.example', servers: ['three.example'] }),
      }
    }
    const joined = await front.post(`/join/${encodeURIComponent('#den:away.example')}`, alice)
    expect(joined.body).toEqual({ room_id: '!den:away.example' })
    expect(front.lastCall!.request['via']).toEqual(['three.example', 'away.example'])
    front.federation.answer = () => ({ status: 404, body: '{"errcode":"M_NOT_FOUND"}' })
    const none = await front.post(`/join/${encodeURIComponent('#none:away.example')}`, alice)
    expect(none).toMatchObject({ status: 404, body: { errcode: 'M_NOT_FOUND' } })
  })

  test('kicks, bans and leaves say why, and unbanning wants a ban', async () => {
    const bob = someone('bob')
    await front.post(`${room}/kick`, alice, { user_id: bob, reason: 'noise' })
    expect(front.lastCall!.request).toMatchObject({ membership: 'leave', target: bob })
    expect(content()).toEqual({ reason: 'noise' })
    await front.post(`${room}/ban`, alice, { user_id: bob })
    expect(front.lastCall!.request).toMatchObject({ membership: 'ban', target: bob })
    await front.post(`${room}/leave`, alice)
    expect(front.lastCall!.request).toMatchObject({ membership: 'leave', target: alice })
    const own = await story.room(alice)
    const kick = `/rooms/${encodeURIComponent(own.roomId)}/kick`
    expect((await front.post(kick, alice, { user_id: bob })).status).toBe(403)
    await own.member(bob, 'join')
    const unban = `/rooms/${encodeURIComponent(own.roomId)}/unban`
    expect((await front.post(unban, alice, { user_id: bob })).status).toBe(403)
    await own.member(bob, 'ban', { by: alice })
    expect((await front.post(unban, alice, { user_id: bob })).status).toBe(200)
    expect(front.lastCall!.request).toMatchObject({ membership: 'leave', target: bob })
  })

  test('who wants no invites gets none, by whatever call', async () => {
    const shy = someone('shy')
    const config = JSON.stringify({ default_action: 'block' })
    await front.ctx.users.call('putAccountData', shy, null, 'm.invite_permission_config', config)
    const blocked = { status: 403, body: { errcode: 'M_INVITE_BLOCKED' } }
    expect(await front.post(`${room}/invite`, alice, { user_id: shy })).toMatchObject(blocked)
    const state = `${room}/state/m.room.member/${shy}`
    expect(await front.put(state, alice, { membership: 'invite' })).toMatchObject(blocked)
    expect(front.calls).toEqual([])
    // The room is there all the same.
    expect(await front.post('/createRoom', alice, { invite: [shy] })).toMatchObject(blocked)
    expect(front.calls.map(({ method }) => method)).toEqual(['create'])
    // To ban them is no invite, and what others want is their server's matter.
    expect((await front.put(state, alice, { membership: 'ban' })).status).toBe(200)
    expect((await front.post(`${room}/invite`, alice, { user_id: '@shy:there.test' })).status).toBe(
      200,
    )
    await front.ctx.users.call('putAccountData', shy, null, 'm.invite_permission_config', '{}')
    expect((await front.post(`${room}/invite`, alice, { user_id: shy })).status).toBe(200)
  })

  test('an invite by address is refused with a reason', async () => {
    const bob = someone('bob')
    const body = { medium: 'email', address: 'a@b', id_server: 'id.example', id_access_token: 'x' }
    const denied = { status: 403, body: { errcode: 'M_THREEPID_DENIED' } }
    expect(await front.post(`${room}/invite`, alice, body)).toMatchObject(denied)
    expect(await front.post('/createRoom', alice, { invite_3pid: [body] })).toMatchObject(denied)
    const signed = { third_party_signed: { sender: alice, mxid: bob, token: 'x', signatures: {} } }
    expect(await front.post(`${room}/join`, bob, signed)).toMatchObject(denied)
    // Nothing of it was begun.
    expect(front.calls).toEqual([])
  })

  test('a room must be left before it is forgotten', async () => {
    const own = await story.room(alice)
    const forget = `/rooms/${encodeURIComponent(own.roomId)}/forget`
    expect(await front.post(forget, alice)).toMatchObject({
      status: 400,
      body: { errcode: 'M_UNKNOWN' },
    })
    expect((await front.post('/rooms/!none:here.example/forget', alice)).status).toBe(404)
  })
})

describe('making a room', () => {
  type Planned = { type: string; stateKey: string; content: string }
  const created = () => front.calls.find(({ method }) => method === 'create')!
  const events = () => created().request['events'] as Planned[]

  test('plans its events in the order of the spec', async () => {
    const bob = someone('bob')
    const name = `den${count}`
    const { status, body } = await front.post('/createRoom', alice, {
      preset: 'public_chat',
      visibility: 'public',
      room_alias_name: name,
      name: 'Den',
      topic: 'Tea',
      invite: [bob],
      is_direct: true,
      room_version: '10',
      creation_content: { 'm.federate': false },
      initial_state: [{ type: 'org.example', content: { n: 1 } }],
    })
    expect(status).toBe(200)
    const roomId = body['room_id'] as string
    expect(created().roomId).toBe(roomId)
    expect(json(created().request['createEvent'])).toMatchObject({
      type: 'm.room.create',
      content: { 'm.federate': false, room_version: '10', creator: alice },
    })
    expect(events().map(({ type }) => type)).toEqual([
      'm.room.member',
      'm.room.power_levels',
      'm.room.canonical_alias',
      'm.room.join_rules',
      'm.room.history_visibility',
      'm.room.guest_access',
      'org.example',
      'm.room.name',
      'm.room.topic',
    ])
    const last = front.lastCall!
    expect(last).toMatchObject({
      method: 'changeMembership',
      roomId,
      request: { target: bob, membership: 'invite' },
    })
    expect(json(last.request['content'])).toEqual({ is_direct: true })
    const alias = await front.get(
      `/directory/room/${encodeURIComponent(`#${name}:here.example`)}`,
      alice,
    )
    expect(alias.body).toMatchObject({ room_id: roomId })
    expect(await db.pool`select from published_rooms where room_id = ${roomId}`).toHaveLength(1)
    // The alias is taken now.
    expect(await front.post('/createRoom', alice, { room_alias_name: name })).toMatchObject({
      status: 400,
      body: { errcode: 'M_ROOM_IN_USE' },
    })
  })

  test('what cannot be is refused before there is a room', async () => {
    const bad: [object, string][] = [
      [{ room_version: '99' }, 'M_UNSUPPORTED_ROOM_VERSION'],
      [{ room_version: '__proto__' }, 'M_UNSUPPORTED_ROOM_VERSION'],
      [{ invite: ['nonsense'] }, 'M_INVALID_PARAM'],
      [{ room_alias_name: 'a:b' }, 'M_INVALID_PARAM'],
      [{ room_alias_name: '' }, 'M_INVALID_PARAM'],
      [{ preset: 'odd' }, 'M_BAD_JSON'],
      [{ initial_state: [{ type: 'x' }] }, 'M_BAD_JSON'],
    ]
    for (const [wish, errcode] of bad)
      expect(await front.post('/createRoom', alice, wish)).toMatchObject({
        status: 400,
        body: { errcode },
      })
    expect(front.calls).toEqual([])
  })

  test('an alias is free again if the room is refused', async () => {
    front.answer = () => {
      throw forbidden('the creator may not set the name')
    }
    const wish = { room_alias_name: `lost${count}`, power_level_content_override: { users: {} } }
    expect(await front.post('/createRoom', alice, wish)).toMatchObject({
      status: 400,
      body: { errcode: 'M_INVALID_ROOM_STATE' },
    })
    front.answer = Front.landed
    expect((await front.post('/createRoom', alice, wish)).status).toBe(200)
  })
})
