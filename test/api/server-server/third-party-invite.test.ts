import { afterEach, beforeEach, expect, test } from 'bun:test'
import { forbidden, RemoteError } from '#core/error.ts'
import type { Json, JsonObject } from '#core/json.ts'
import { signJson } from '#core/signing.ts'
import * as invites from '#api/server-server/invites.ts'
import * as thirdPartyInvite from '#api/server-server/third-party-invite.ts'
import { MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant, uproot } from './plant.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const other = new MadeUpServer('other.test')
const identity = new MadeUpServer('identity.test')
const alice = peer.user('alice')
const carol = `@carol:${here}`
const ops = [invites, thirdPartyInvite].flatMap((file) => Object.values(file))
const enc = encodeURIComponent
let stage: Stage
let room: MadeUpRoom

beforeEach(async () => {
  await uproot(db.pool, 'users', 'account_data')
  stage = await Stage.open(db.pool, ops, [peer, other])
  await stage.ctx.users.call('createUser', carol, { admin: false, createdAt: 1 })
  room = MadeUpRoom.create('11', alice, peer, other)
})
afterEach(() => stage.close())

const signed = (mxid = carol) => signJson({ mxid, token: 'token' }, identity.name, identity.key)

const inviteOf = (target = carol, change: JsonObject = {}): JsonObject => ({
  type: 'm.room.member',
  room_id: room.roomId,
  sender: alice,
  state_key: target,
  content: {
    membership: 'invite',
    third_party_invite: { display_name: 'carol', signed: signed(target) },
  },
  ...change,
})

const exchange = (body: JsonObject, from = other) => {
  const uri = `/_matrix/federation/v1/exchange_third_party_invite/${enc(room.roomId)}`
  return stage.ask(from, 'PUT', uri, body)
}

const made = () => stage.rooms.of('changeMembership').map(([roomId, change]) => [roomId, change])

test('another server has an invite by address made good by the owner of the room', async () => {
  await plant(db.pool, stage.snapshots, room)
  const guest = other.user('guest')
  expect(await exchange(inviteOf(guest))).toMatchObject({ status: 200, body: {} })
  const content = JSON.stringify({
    third_party_invite: (inviteOf(guest)['content'] as JsonObject)['third_party_invite'],
  })
  expect(made()).toEqual([
    [room.roomId, { sender: alice, target: guest, membership: 'invite', content }],
  ])
})

test('only a whole invite of the room in the path is exchanged, for the user who was signed', async () => {
  await plant(db.pool, stage.snapshots, room)
  const { content } = inviteOf() as { content: JsonObject }
  for (const body of [
    inviteOf(carol, { type: 'm.room.message' }),
    inviteOf(carol, { room_id: '!other:peer.test' }),
    inviteOf(carol, { content: { ...content, membership: 'join' } }),
    inviteOf(carol, { state_key: alice }),
    inviteOf(carol, { content: { membership: 'invite' } }),
  ])
    expect((await exchange(body)).status).toBe(400)
  // A user of ours who is not there, and a room that is not.
  expect((await exchange(inviteOf(`@nobody:${here}`))).status).toBe(404)
  room.roomId = '!unknown:peer.test'
  expect((await exchange(inviteOf())).status).toBe(404)
  expect(made()).toEqual([])
})

test('a server that the access list of the room keeps out exchanges nothing', async () => {
  room.add(alice, 'm.room.server_acl', { allow: ['*'], deny: ['other.test'] }, { stateKey: '' })
  await plant(db.pool, stage.snapshots, room)
  expect((await exchange(inviteOf())).status).toBe(403)
  expect(made()).toEqual([])
})

const bind = (body: object) =>
  stage.fetch(
    new Request(`https://${here}/_matrix/federation/v1/3pid/onbind`, {
      method: 'PUT',
      body: JSON.stringify(body),
    }),
  )

const bound = (roomIds: readonly string[], mxid = carol) => ({
  medium: 'email',
  address: 'carol@example.org',
  mxid,
  invites: roomIds.map((roomId) => ({
    medium: 'email',
    address: 'carol@example.org',
    mxid,
    room_id: roomId,
    sender: alice,
    signed: signed(mxid),
  })),
})

test('when an address is bound, its invites are made good here, or at the servers that made them', async () => {
  await plant(db.pool, stage.snapshots, room)
  const elsewhere = '!elsewhere:peer.test'
  stage.federation.answer = () => ({ status: 200, body: '{}' })
  expect(await bind(bound([room.roomId, elsewhere]))).toMatchObject({ status: 200, body: {} })
  const content = JSON.stringify({ third_party_invite: { display_name: carol, signed: signed() } })
  expect(made()).toEqual([
    [room.roomId, { sender: alice, target: carol, membership: 'invite', content }],
  ])
  const [asked] = stage.federation.requests
  expect([asked!.destination, asked!.method, asked!.uri]).toEqual([
    'peer.test',
    'PUT',
    `/_matrix/federation/v1/exchange_third_party_invite/${enc(elsewhere)}`,
  ])
  expect(JSON.parse(asked!.body!)).toMatchObject({ room_id: elsewhere, state_key: carol })
  // The address itself is nothing for the rooms.
  expect(asked!.body).not.toContain('example.org')
})

test('an invite that nobody makes good does not keep the others from it', async () => {
  await plant(db.pool, stage.snapshots, room)
  stage.federation.answer = ({ destination }) => {
    throw new RemoteError(destination, 0, 'laneway.unreachable', 'it is down')
  }
  let refusals = 1
  stage.rooms.answers.changeMembership = () => {
    if (refusals-- > 0) throw forbidden('no')
    return { eventId: '$x', shard: 0, position: 1 }
  }
  const ids = ['!elsewhere:peer.test', room.roomId, room.roomId]
  expect((await bind(bound(ids))).status).toBe(200)
  expect(made().length).toBe(2)
})

test('only users of ours are bound, and only to invites of their own', async () => {
  await plant(db.pool, stage.snapshots, room)
  expect((await bind(bound([room.roomId], alice))).status).toBe(403)
  expect((await bind(bound([room.roomId], `@nobody:${here}`))).status).toBe(404)
  const { invites: list, ...body } = bound([room.roomId])
  for (const odd of [{ mxid: alice }, { signed: signed(alice) }])
    expect((await bind({ ...body, invites: [{ ...list[0], ...odd }] })).status).toBe(400)
  expect((await bind({ ...body, invites: Array.from({ length: 51 }, () => list[0]) })).status).toBe(
    400,
  )
  expect(made()).toEqual([])
})

test('an invite by address that another server of the room made is signed, whoever its sender is', async () => {
  const { content } = inviteOf() as { content: JsonObject }
  const invite = room.make(alice, 'm.room.member', content, { stateKey: carol, signedBy: other })
  const path = `${enc(room.roomId)}/${enc(invite.event.eventId)}`
  const body = { room_version: '11', event: JSON.parse(invite.text) as Json, invite_room_state: [] }
  const put = (from: MadeUpServer, what: Json) =>
    stage.ask(from, 'PUT', `/_matrix/federation/v2/invite/${path}`, what)
  expect((await put(other, body)).status).toBe(200)
  expect(stage.rooms.of('receiveInvite').length).toBe(1)
  const plain = room.make(alice, 'm.room.member', { membership: 'invite' }, { stateKey: carol })
  const uri = `/_matrix/federation/v2/invite/${enc(room.roomId)}/${enc(plain.event.eventId)}`
  const event = JSON.parse(plain.text) as Json
  expect((await stage.ask(other, 'PUT', uri, { ...body, event })).status).toBe(403)
})
