import { afterEach, beforeEach, describe, expect, test } from 'bun:test'
import { redactedText } from '#core/event/hash.ts'
import { redact } from '#core/event/redact.ts'
import { verifySignature } from '#core/ed25519.ts'
import type { Json, JsonObject } from '#core/json.ts'
import * as invites from '#api/server-server/invites.ts'
import * as joins from '#api/server-server/joins.ts'
import * as leaving from '#api/server-server/leaving.ts'
import { type Made, MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant, uproot } from './plant.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const other = new MadeUpServer('other.test')
const alice = peer.user('alice')
const bob = other.user('bob')
const carol = `@carol:${here}`
const ops = [invites, joins, leaving].flatMap((file) => Object.values(file))
let stage: Stage
let room: MadeUpRoom
const enc = encodeURIComponent
const federation = '/_matrix/federation'

beforeEach(async () => {
  await uproot(db.pool, 'users', 'account_data')
  stage = await Stage.open(db.pool, ops, [peer, other])
  await stage.ctx.users.call('createUser', carol, { admin: false, createdAt: 1 })
  room = MadeUpRoom.create('11', alice, peer, other)
})
afterEach(() => stage.close())

const parsed = (text: string) => JSON.parse(text) as Json
const put = (from: MadeUpServer, path: string, { event, text }: Made, body = parsed(text)) =>
  stage.ask(from, 'PUT', `${federation}/${path}/${enc(event.roomId)}/${enc(event.eventId)}`, body)

describe('make_join', () => {
  const make = (userId = bob, query = '?ver=11&ver=12', from = other) => {
    const uri = `${federation}/v1/make_join/${enc(room.roomId)}/${enc(userId)}${query}`
    return stage.ask(from, 'GET', uri)
  }

  test('gives the template that the owner of the room makes', async () => {
    await plant(db.pool, stage.snapshots, room)
    const template = room.make(bob, 'm.room.member', { membership: 'join' }, { stateKey: bob })
    stage.rooms.answers.makeJoin = () => ({ version: '11', event: template.text })
    const { body } = await make()
    expect(body).toEqual({ room_version: '11', event: parsed(template.text) })
    expect(stage.rooms.of('makeJoin')).toEqual([[room.roomId, bob, ['11', '12'], 'other.test']])
  })

  test('says which version the room has if the joining server does not know it', async () => {
    await plant(db.pool, stage.snapshots, room)
    const { status, body } = await make(bob, '')
    expect([status, body['errcode'], body['room_version']]).toEqual([
      400,
      'M_INCOMPATIBLE_ROOM_VERSION',
      '11',
    ])
  })

  test('is for users of the asking server, rooms that are here, and servers that are let in', async () => {
    room.add(alice, 'm.room.server_acl', { allow: ['*'], deny: ['other.test'] }, { stateKey: '' })
    await plant(db.pool, stage.snapshots, room)
    expect((await make(alice)).status).toBe(403)
    expect((await make()).body['errcode']).toBe('M_FORBIDDEN')
    room = MadeUpRoom.create('11', bob, other)
    expect((await make()).status).toBe(404)
    expect(stage.rooms.calls).toEqual([])
  })
})

describe('send_join', () => {
  test('answers the state before the join, its auth chain, and the event to use', async () => {
    await plant(db.pool, stage.snapshots, room)
    const before = new Set(Array.from(room.state.values(), ({ pdu }) => JSON.stringify(pdu)))
    const join = room.member(bob, bob, 'join')
    stage.rooms.answers.sendJoin = async (_roomId, _origin, pdu) => {
      await uproot(db.pool)
      await plant(db.pool, stage.snapshots, room)
      return { eventId: join.event.eventId, shard: 0, position: 1, event: pdu }
    }
    const { status, body } = await put(other, 'v2/send_join', join)
    expect(status).toBe(200)
    const state = body['state'] as JsonObject[]
    expect(new Set(state.map((pdu) => JSON.stringify(pdu)))).toEqual(before)
    expect(body['event']).toEqual(parsed(join.text) as JsonObject)
    expect(body['auth_chain']).toContainEqual(parsed(room.events.values().next().value!.text))
    expect(body['members_omitted']).toBe(false)
    expect(new Set(body['servers_in_room'] as string[])).toEqual(
      new Set(['peer.test', 'other.test']),
    )
    expect(stage.rooms.of('sendJoin')[0]!.slice(0, 2)).toEqual([room.roomId, 'other.test'])
  })

  const joinWithout = async () => {
    const join = room.member(bob, bob, 'join')
    await plant(db.pool, stage.snapshots, room)
    const uri = `${federation}/v2/send_join/${enc(room.roomId)}/${enc(join.event.eventId)}`
    stage.rooms.answers.sendJoin = (_roomId, _origin, pdu) => ({
      eventId: join.event.eventId,
      shard: 0,
      position: 1,
      event: pdu,
    })
    const asked = await stage.ask(other, 'PUT', `${uri}?omit_members=true`, parsed(join.text))
    expect(asked.status).toBe(200)
    return asked.body
  }
  const keysOf = (list: unknown) =>
    (list as { type: string; state_key: string }[])
      .map(({ type, state_key: key }) => `${type} ${key}`)
      .sort()

  test('leaves memberships out where the joining server can do without', async () => {
    room.add(alice, 'm.room.name', { name: 'Named' }, { stateKey: '' })
    const body = await joinWithout()
    expect(body['members_omitted']).toBe(true)
    expect(keysOf(body['state'])).toEqual([
      'm.room.create ',
      'm.room.join_rules ',
      'm.room.name ',
      'm.room.power_levels ',
    ])
    // What judges that state and the join, without what is in the state.
    expect(keysOf(body['auth_chain'])).toEqual([`m.room.member ${alice}`])
    expect(new Set(body['servers_in_room'] as string[])).toEqual(
      new Set(['peer.test', 'other.test']),
    )
  })

  test('keeps the memberships by which a room without a name is named', async () => {
    const body = await joinWithout()
    expect(body['members_omitted']).toBe(true)
    expect(keysOf(body['state'])).toContain(`m.room.member ${alice}`)
    expect(keysOf(body['state'])).not.toContain(`m.room.member ${bob}`)
    expect(body['auth_chain']).toEqual([])
  })

  const refused = async (made: Made, from = other, body?: Json) => {
    const answer = await put(from, 'v2/send_join', made, body)
    expect([400, 403]).toContain(answer.status)
    expect(stage.rooms.calls).toEqual([])
    return answer.body['errcode']
  }

  test('takes nothing but a signed join of the asking server’s own user', async () => {
    await plant(db.pool, stage.snapshots, room)
    const join = room.make(bob, 'm.room.member', { membership: 'join' }, { stateKey: bob })
    const cases: [Made, MadeUpServer?][] = [
      [room.make(bob, 'm.room.member', { membership: 'leave' }, { stateKey: bob })],
      [room.make(bob, 'm.room.message', { membership: 'join' })],
      [room.make(bob, 'm.room.member', { membership: 'join' }, { stateKey: alice })],
      [join, peer],
      [room.make(bob, 'm.room.member', { membership: 'join' }, { stateKey: bob, signedBy: peer })],
    ]
    for (const [made, from] of cases) await refused(made, from)
    // Another event than the path says.
    const message = room.make(bob, 'm.room.member', { membership: 'join', n: 1 }, { stateKey: bob })
    expect(await refused(join, other, parsed(message.text))).toBe('M_INVALID_PARAM')
    // Changed after it was hashed: redaction would keep the ID.
    const changed = parsed(join.text) as JsonObject
    ;(changed['content'] as JsonObject)['displayname'] = 'Mallory'
    expect(await refused(join, other, changed)).toBe('M_INVALID_PARAM')
  })
})

describe('leaving', () => {
  test('goes through the owner of the room', async () => {
    await plant(db.pool, stage.snapshots, room)
    const template = room.make(bob, 'm.room.member', { membership: 'leave' }, { stateKey: bob })
    stage.rooms.answers.makeLeave = () => ({ version: '11', event: template.text })
    const uri = `${federation}/v1/make_leave/${enc(room.roomId)}/${enc(bob)}`
    expect((await stage.ask(other, 'GET', uri)).body['room_version']).toBe('11')
    expect((await stage.ask(peer, 'GET', uri)).status).toBe(403)

    const leave = room.make(bob, 'm.room.member', { membership: 'leave' }, { stateKey: bob })
    expect((await put(other, 'v2/send_leave', leave)).body).toEqual({})
    expect(stage.rooms.of('sendLeave')[0]!.slice(0, 2)).toEqual([room.roomId, 'other.test'])
    const join = room.make(bob, 'm.room.member', { membership: 'join' }, { stateKey: bob })
    expect((await put(other, 'v2/send_leave', join)).status).toBe(400)
  })
})

describe('an invite', () => {
  const inviteOf = (target = carol, of = room) =>
    of.make(alice, 'm.room.member', { membership: 'invite' }, { stateKey: target })
  const wrap = (made: Made, version = '11', state: Json[] = []) => ({
    room_version: version,
    event: parsed(made.text),
    invite_room_state: state,
  })
  const v2 = (made: Made, body: Json = wrap(made), from = peer) =>
    put(from, 'v2/invite', made, body)
  const publicKey = () => stage.ctx.signingKey.publicKey
  const keyId = () => stage.ctx.signingKey.keyId

  test('is signed, given to its room, and sent back as it was', async () => {
    const made = inviteOf()
    const stripped = { type: 'm.room.name', state_key: '', sender: alice, content: { name: 'x' } }
    const { status, body } = await v2(made, wrap(made, '11', [stripped, { no: 'event' }]))
    expect(status).toBe(200)
    const event = body['event'] as JsonObject
    const { signatures, ...rest } = event
    const { signatures: before, ...same } = parsed(made.text) as JsonObject
    expect(rest).toEqual(same)
    const ours = (signatures as { [server: string]: { [key: string]: string } })[here]!
    const text = redactedText(made.event.version, event)!
    expect(verifySignature(publicKey(), text, ours[keyId()]!)).toBe(true)
    expect(signatures).toMatchObject(before as object)

    const [roomId, version, pdu, state] = stage.rooms.of('receiveInvite')[0]!
    expect([roomId, version]).toEqual([room.roomId, '11'])
    expect(parsed(pdu as string)).toEqual(event)
    expect((state as string[]).map(parsed)).toEqual([stripped])
  })

  test('of the first version of the call has its state in `unsigned`', async () => {
    const old = MadeUpRoom.create('1', alice, peer)
    const made = inviteOf(carol, old)
    const stripped = { type: 'm.room.name', state_key: '', sender: alice, content: { name: 'x' } }
    const body = {
      ...(parsed(made.text) as JsonObject),
      unsigned: { invite_room_state: [stripped] },
    }
    const answer = await put(peer, 'v1/invite', made, body)
    const [code, { event }] = answer.body as unknown as [number, { event: JsonObject }]
    expect(code).toBe(200)
    expect(event['event_id']).toBe(made.event.eventId)
    expect((stage.rooms.of('receiveInvite')[0]![3] as string[]).map(parsed)).toEqual([stripped])
  })

  test('to a room of version 12 comes with good events of that room, the first among them', async () => {
    const room12 = MadeUpRoom.create('12', alice, peer)
    const made = inviteOf(carol, room12)
    const state = Array.from(room12.events.values(), ({ text }) => parsed(text))
    expect((await v2(made, wrap(made, '12', state))).status).toBe(200)
    const foreign = MadeUpRoom.create('12', peer.user('x'), peer).events.values().next().value!
    const bad: Json[][] = [
      [],
      state.slice(1),
      [...state, parsed(foreign.text)],
      [...state, { type: 'm.room.name', state_key: '', sender: alice, content: {} }],
      [{ ...(state[0] as JsonObject), signatures: {} }, ...state.slice(1)],
    ]
    for (const each of bad) {
      const { status, body } = await v2(made, wrap(made, '12', each))
      expect([status, body['errcode']]).toEqual([400, 'M_INVALID_PARAM'])
    }
  })

  test('comes with what is left of events that were redacted, or changed on the way', async () => {
    const room12 = MadeUpRoom.create('12', alice, peer)
    const { event } = room12.add(alice, 'm.room.name', { name: 'Secrets' }, { stateKey: '' })
    const made = inviteOf(carol, room12)
    const state = Array.from(room12.events.values(), ({ text }) => parsed(text) as JsonObject)
    const changed = state.map((each) =>
      each['type'] === 'm.room.name' ? { ...each, content: { name: 'Lies' } } : each,
    )
    const redacted = state.map((each) =>
      each['type'] === 'm.room.name' ? redact(event.version, each) : each,
    )
    for (const each of [changed, redacted]) {
      expect((await v2(made, wrap(made, '12', each))).status).toBe(200)
      const taken = stage.rooms.of('receiveInvite').at(-1)![3] as string[]
      expect(taken.map(parsed)).toContainEqual(redact(event.version, event.pdu))
    }
  })

  test('of an unknown room version is refused with that version', async () => {
    const made = inviteOf()
    const { status, body } = await v2(made, wrap(made, '99'))
    expect([status, body['errcode'], body['room_version']]).toEqual([
      400,
      'M_INCOMPATIBLE_ROOM_VERSION',
      '99',
    ])
  })

  test('is nothing else in disguise (CVE-2025-68667)', async () => {
    const join = room.make(alice, 'm.room.member', { membership: 'join' }, { stateKey: carol })
    const forOther = inviteOf(bob)
    const unsigned = room.make(
      alice,
      'm.room.member',
      { membership: 'invite' },
      {
        stateKey: carol,
        after: (pdu) => (pdu['signatures'] = {}),
      },
    )
    const stateKey = carol
    const ofOurs = { stateKey, signedBy: peer, auth: [] }
    const disguised = [
      ...['leave', 'ban', 'knock', ''].map((membership) =>
        room.make(alice, 'm.room.member', { membership }, { stateKey }),
      ),
      room.make(alice, 'm.room.power_levels', { membership: 'invite' }, { stateKey }),
      room.make(alice, 'm.room.member', { membership: 'invite' }),
      room.make(carol, 'm.room.member', { membership: 'invite' }, ofOurs),
      room.make(carol, 'm.room.member', { membership: 'leave' }, ofOurs),
    ]
    for (const made of [join, forOther, unsigned]) expect((await v2(made)).status).toBe(400)
    for (const made of disguised) expect([400, 403]).toContain((await v2(made)).status)
    expect((await v2(inviteOf(), undefined, other)).status).toBe(403)
    expect(stage.rooms.calls).toEqual([])
  })

  test('of a user who is not there, or wants none, is refused', async () => {
    expect((await v2(inviteOf(`@nobody:${here}`))).status).toBe(404)
    const config = JSON.stringify({ default_action: 'block' })
    await stage.ctx.users.call('putAccountData', carol, null, 'm.invite_permission_config', config)
    const { status, body } = await v2(inviteOf())
    expect([status, body['errcode']]).toEqual([403, 'M_INVITE_BLOCKED'])
  })

  test('to a room whose access list does not let the server in is refused', async () => {
    room.add(alice, 'm.room.server_acl', { allow: ['*'], deny: ['peer.test'] }, { stateKey: '' })
    await plant(db.pool, stage.snapshots, room)
    expect((await v2(inviteOf())).body['errcode']).toBe('M_FORBIDDEN')
  })
})
