import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { Json } from '#core/json.ts'
import * as backfill from '#api/server-server/backfill.ts'
import * as eventAuth from '#api/server-server/event-auth.ts'
import * as events from '#api/server-server/events.ts'
import * as invites from '#api/server-server/invites.ts'
import * as joins from '#api/server-server/joins.ts'
import * as knocks from '#api/server-server/knocks.ts'
import * as leaving from '#api/server-server/leaving.ts'
import * as spaces from '#api/server-server/space-hierarchy.ts'
import * as thirdParty from '#api/server-server/third-party-invite.ts'
import { type Made, MadeUpRoom, MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { plant } from './plant.ts'
import { here, Stage } from './stage.ts'

/**
 * Every call that the spec lists as guarded by the access list of a room, and those beside it that
 * name a room or tell of one.
 *
 * Spec: server-server-api/#server-access-control-lists-acls
 */
const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
// Its name is written otherwise in the list: neither case nor port counts.
const banned = new MadeUpServer('banned.test:8448')
const alice = peer.user('alice')
const bob = banned.user('bob')
const carol = `@carol:${here}`
const files = [backfill, eventAuth, events, invites, joins, knocks, leaving, spaces, thirdParty]
let stage: Stage
let room: MadeUpRoom
let said: Made

beforeAll(async () => {
  stage = await Stage.open(
    db.pool,
    files.flatMap((file) => Object.values(file)),
    [peer, banned],
  )
  await stage.ctx.users.call('createUser', carol, { admin: false, createdAt: 1 })
  room = MadeUpRoom.create('11', alice, peer, banned)
  room.member(bob, bob, 'join')
  const list = { allow: ['*'], deny: ['BANNED.test'] }
  room.add(alice, 'm.room.server_acl', list, { stateKey: '' })
  said = room.say(alice, 'hello')
  await plant(db.pool, stage.snapshots, room)
})
afterAll(() => stage.close())

const enc = encodeURIComponent
const member = (membership: string, target = bob) =>
  room.make(bob, 'm.room.member', { membership }, { stateKey: target })
const invite = (version: string, made: Made): Json =>
  version === 'v2'
    ? { room_version: '11', event: JSON.parse(made.text) as Json, invite_room_state: [] }
    : (JSON.parse(made.text) as Json)

type Guarded = [name: string, ask: () => [method: string, path: string, body?: Json]]
const ofRoom = (path: string) => `v1/${path}/${enc(room.roomId)}`
const handedIn = (path: string, { event }: Made) =>
  `${path}/${enc(room.roomId)}/${enc(event.eventId)}`
const guarded: Guarded[] = [
  ['make_join', () => ['GET', `${ofRoom('make_join')}/${enc(bob)}?ver=11`]],
  ['make_leave', () => ['GET', `${ofRoom('make_leave')}/${enc(bob)}`]],
  ['make_knock', () => ['GET', `${ofRoom('make_knock')}/${enc(bob)}?ver=11`]],
  ...(['v2/send_join', 'v2/send_leave', 'v1/send_knock'] as const).map((path): Guarded => [
    path.slice('v1/'.length),
    () => {
      const made = member(path.slice('v1/send_'.length))
      return ['PUT', handedIn(path, made), JSON.parse(made.text) as Json]
    },
  ]),
  ...['v1', 'v2'].map((version): Guarded => [
    `invite ${version}`,
    () => {
      const made = member('invite', carol)
      return ['PUT', handedIn(`${version}/invite`, made), invite(version, made)]
    },
  ]),
  ['event', () => ['GET', `v1/event/${enc(said.event.eventId)}`]],
  ['timestamp_to_event', () => ['GET', `${ofRoom('timestamp_to_event')}?ts=1&dir=f`]],
  ['hierarchy', () => ['GET', ofRoom('hierarchy')]],
  [
    'exchange_third_party_invite',
    () => [
      'PUT',
      ofRoom('exchange_third_party_invite'),
      {
        type: 'm.room.member',
        room_id: room.roomId,
        sender: bob,
        state_key: bob,
        content: {
          membership: 'invite',
          third_party_invite: {
            display_name: 'b',
            signed: { mxid: bob, token: 't', signatures: {} },
          },
        },
      },
    ],
  ],
  ['state', () => ['GET', `${ofRoom('state')}?event_id=${enc(said.event.eventId)}`]],
  ['state_ids', () => ['GET', `${ofRoom('state_ids')}?event_id=${enc(said.event.eventId)}`]],
  ['backfill', () => ['GET', `${ofRoom('backfill')}?v=${enc(said.event.eventId)}&limit=1`]],
  ['event_auth', () => ['GET', `${ofRoom('event_auth')}/${enc(said.event.eventId)}`]],
  [
    'get_missing_events',
    () => [
      'POST',
      ofRoom('get_missing_events'),
      { earliest_events: [], latest_events: [said.event.eventId] },
    ],
  ],
]

describe('the access list of a room keeps a server from', () => {
  test.each(guarded)('%s', async (_name, make) => {
    const [method, path, body] = make()
    const answer = await stage.ask(banned, method, `/_matrix/federation/${path}`, body)
    expect([answer.status, answer.body['errcode']]).toEqual([403, 'M_FORBIDDEN'])
    expect(answer.body['error']).toContain('access list')
    expect(stage.rooms.calls).toEqual([])
  })
})

test('who is let in is refused none of them for the list', async () => {
  for (const [name, make] of guarded) {
    const [method, path, body] = make()
    const answer = await stage.ask(peer, method, `/_matrix/federation/${path}`, body)
    expect({ name, error: answer.body['error'] ?? '' }).toEqual({
      name,
      error: expect.not.stringContaining('access list') as string,
    })
  }
})
