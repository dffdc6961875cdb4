import { expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { signEvent } from '#core/event/build.ts'
import { canonicalEvent } from '#core/event/hash.ts'
import type { RoomEvent } from '#core/event/pdu.ts'
import type { JsonObject } from '#core/json.ts'
import { readStripped } from '#engine/read/stripped.ts'
import { eventFlags } from '#store/room/batch.ts'
import { unpackEventId } from '#store/room/event-id.ts'
import { type Made, MadeUpRoom } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { RemoteRoom, RemoteServer } from '#test/engine/room/fetch/remote-room.ts'
import { Residents } from '#test/engine/room/fetch/residents.ts'
import {
  adopt,
  alice,
  bob,
  createRoom,
  deliver,
  inboxIsEmpty,
  joinFrom,
  openStage,
  refusal,
  setState,
  type Stage,
  stored,
  until,
  us,
} from '#test/room-engine.ts'
import { mallory, openScene, there } from '#test/engine/room/scene.ts'

const database = await testDatabase()
const versions = ['1', '6', '8', '11', '12']
const shown = [
  { type: 'm.room.name', state_key: '', sender: mallory, content: { name: 'Secrets' } },
]

/** An invite as the main thread passes it on: signed by us too. */
const countersigned = ({ event }: Made): string =>
  canonicalEvent(
    event.version,
    signEvent(event.version, event.pdu, { serverName: us.name, key: us.key }),
  )!

const take = (
  { rooms }: Stage,
  made: Made,
  { version = made.event.version.id, state = shown as object[] } = {},
) =>
  rooms.call(
    'receiveInvite',
    made.event.roomId,
    version,
    countersigned(made),
    state.map((each) => JSON.stringify(each)),
  )

const inviteOf = (room: MadeUpRoom, target = alice, content: JsonObject = {}) =>
  room.make(mallory, 'm.room.member', { membership: 'invite', ...content }, { stateKey: target })

/** A room that only another server is in. */
function elsewhere(version = '11'): MadeUpRoom {
  const room = MadeUpRoom.create(version, mallory, there)
  // v12+: the ID is given by the create event.
  if (!room.version.createEventIsRoomId) room.roomId = `!${crypto.randomUUID()}:${there.name}`
  return room
}

async function memberOf(roomId: string, userId = alice) {
  const [row] = await database.pool<
    {
      kind: string
      version: string
      invited: number
      membership: string
      position: number
      shard: number
      room_nid: number
      event_nid: number
    }[]
  >`
    select r.kind, r.version, r.invited_members as invited, m.membership, m.position, m.shard,
      m.room_nid, m.event_nid
    from rooms r
    join memberships m on m.shard = r.shard and m.room_nid = r.room_nid
      and m.generation = r.generation
    join user_ids u on u.user_nid = m.user_nid
    where r.room_id = ${roomId} and u.user_id = ${userId}`
  return row
}

const leave = ({ rooms }: Stage, roomId: string, userId = alice) =>
  rooms.call('changeMembership', roomId, {
    sender: userId,
    target: userId,
    membership: 'leave',
    content: '{}',
  })

test.each(versions)(
  'an invite to a room of version %s that we are not in is all that we know of it',
  async (version) => {
    await using stage = await openStage(database, [there])
    const room = elsewhere(version)
    const made = inviteOf(room)
    const landed = await take(stage, made)
    expect(landed.eventId).toBe(made.event.eventId)
    const member = (await memberOf(room.roomId))!
    expect(member).toMatchObject({
      kind: 'outside',
      version,
      membership: 'invite',
      invited: 1,
      position: landed.position,
      shard: landed.shard,
    })
    expect(stage.signals).toContainEqual({
      s: 'rooms-at',
      positions: [[landed.shard, landed.position]],
      // It came from another server: there is nothing to tell others.
      sends: false,
    })
    expect(await stored(database, room.roomId, landed.eventId)).toMatchObject({
      flags: eventFlags.outlier,
      position: null,
      chain: null,
      json: countersigned(made),
    })
    const { shard, room_nid: roomNid, event_nid: eventNid, position } = member
    const stripped = await readStripped(database.pool, [{ shard, roomNid, eventNid, position }])
    const { sender, state } = stripped.get(roomNid)!
    expect(sender).toBe(mallory)
    expect(state.map(({ type, state_key: key }) => [type, key])).toEqual([
      ['m.room.name', ''],
      ['m.room.member', alice],
    ])
    const [delta] = await database.pool`
      select old_membership, new_membership from state_deltas
      where shard = ${shard} and room_nid = ${roomNid} and position = ${position}`
    expect(delta).toEqual({ old_membership: null, new_membership: 'invite' })

    // Sent again, since our answer was lost.
    expect((await take(stage, made)).eventId).toBe(landed.eventId)
    expect((await memberOf(room.roomId))!.position).toBe(landed.position)
    expect(stage.errors).toEqual([])
  },
)

test('who has declined can be invited again, by an event that is new', async () => {
  await using stage = await openStage(database, [there])
  const room = elsewhere()
  const first = inviteOf(room)
  await take(stage, first)
  await leave(stage, room.roomId)
  expect(await memberOf(room.roomId)).toMatchObject({ membership: 'leave', invited: 0 })
  await take(stage, first)
  expect((await memberOf(room.roomId))!.membership).toBe('leave')
  const second = await take(stage, inviteOf(room, alice, { reason: 'please' }))
  expect(await memberOf(room.roomId)).toMatchObject({
    membership: 'invite',
    invited: 1,
    position: second.position,
  })
  // A newer invite takes the place of an older one.
  const third = await take(stage, inviteOf(room, alice, { reason: 'now' }))
  expect(await memberOf(room.roomId)).toMatchObject({ invited: 1, position: third.position })
})

test('several invites make one room, also at once and after a restart', async () => {
  const room = elsewhere()
  {
    await using stage = await openStage(database, [there])
    await Promise.all([take(stage, inviteOf(room)), take(stage, inviteOf(room, bob))])
    const made = inviteOf(room, us.user('carol'))
    const twice = await Promise.all([take(stage, made), take(stage, made)])
    expect(twice[0]!.eventId).toBe(twice[1]!.eventId)
    expect(stage.errors).toEqual([])
  }
  await using stage = await openStage(database, [there])
  await take(stage, inviteOf(room, us.user('dora')))
  expect(await memberOf(room.roomId, us.user('dora'))).toMatchObject({
    membership: 'invite',
    invited: 4,
  })
})

test('the version of a room outside is what was said last, where that makes no other IDs', async () => {
  await using stage = await openStage(database, [there])
  const room = elsewhere('10')
  await take(stage, inviteOf(elsewhereAs(room, '6')), { version: '6' })
  expect((await memberOf(room.roomId))!.version).toBe('6')
  const landed = await take(stage, inviteOf(room, bob))
  expect((await memberOf(room.roomId, bob))!.version).toBe('10')
  expect(await stored(database, room.roomId, landed.eventId)).toMatchObject({ flags: 4 })
  for (const version of ['1', '3']) {
    const other = inviteOf(elsewhereAs(room, version), us.user('carol'))
    expect(await refusal(take(stage, other))).toEqual([400, 'M_INVALID_PARAM'])
  }
  const unknown = take(stage, inviteOf(room), { version: '99' })
  expect(await refusal(unknown)).toEqual([400, 'M_INCOMPATIBLE_ROOM_VERSION'])
})

/** The same room ID, by a server that takes it for another version, or lies. */
function elsewhereAs(room: MadeUpRoom, version: string): MadeUpRoom {
  const other = elsewhere(version)
  other.roomId = room.roomId
  return other
}

test.each(versions)(
  'an invite in a room of version %s that we are in is an event like any other',
  async (version) => {
    await using stage = await openScene(database, {
      version,
      wish: { powerLevelOverride: { invite: 0 } },
    })
    const { roomId, room } = stage
    const made = inviteOf(room, bob)
    const landed = await take(stage, made, { state: [] })
    const row = await stored(database, roomId, made.event.eventId)
    expect(row).toMatchObject({ flags: 0, position: landed.position, json: countersigned(made) })
    expect(await memberOf(roomId, bob)).toMatchObject({ kind: 'joined', membership: 'invite' })
    expect((await adopt(database, roomId)).heads).toEqual([made.event.eventId])
    const again = await take(stage, made, { state: [] })
    expect(again.eventId).toBe(landed.eventId)
    // The inviter's server tells the others.
    const [event] = await database.pool`
      select destination_set from events where shard = ${landed.shard}
        and position = ${landed.position}`
    expect(event!['destination_set']).toBeNull()
    expect(stage.errors).toEqual([])
  },
)

test('in a room that we are in nobody is invited whom the room does not allow to be', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11', { powerLevelOverride: { invite: 0 } })
  let room = await joinFrom(stage, database, roomId, there, 'mallory')
  const forbidden: [number, string] = [403, 'M_FORBIDDEN']
  // Who is in already, and who is banned.
  const pointless = inviteOf(room)
  expect(await refusal(take(stage, pointless))).toEqual(forbidden)
  expect(await stored(database, roomId, pointless.event.eventId)).toBeUndefined()
  const change = (membership: 'ban' | 'leave') =>
    stage.rooms.call('changeMembership', roomId, {
      sender: alice,
      target: bob,
      membership,
      content: '{}',
    })
  await change('ban')
  room = await adopt(database, roomId, there)
  const hopeless = inviteOf(room, bob)
  expect(await refusal(take(stage, hopeless))).toEqual(forbidden)
  expect((await memberOf(roomId, bob))!.membership).toBe('ban')
  await change('leave')
  room = await adopt(database, roomId, there)
  await take(stage, inviteOf(room, bob))
  expect((await memberOf(roomId, bob))!.membership).toBe('invite')
  // A server that is kept out, and a version that the room does not have.
  const lie = take(stage, inviteOf(elsewhereAs(room, '10'), bob))
  expect(await refusal(lie)).toEqual([400, 'M_INVALID_PARAM'])
  await setState(stage, roomId, 'm.room.server_acl', { allow: ['us.test'] })
  room = await adopt(database, roomId, there)
  expect(await refusal(take(stage, inviteOf(room, us.user('carol'))))).toEqual(forbidden)
})

test('an invite that cites what is still on its way waits for that', async () => {
  await using stage = await openScene(database, {
    version: '11',
    wish: { powerLevelOverride: { invite: 0 } },
  })
  const { roomId, room } = stage
  const before = room.say(mallory, 'let me invite somebody')
  const gate = Promise.withResolvers<void>()
  stage.federation.answer = async ({ destination }) => {
    await gate.promise
    throw new RemoteError(destination, 404, 'M_NOT_FOUND', 'nothing is here')
  }
  const made = inviteOf(room, bob)
  expect(await take(stage, made, { state: [] })).toMatchObject({ eventId: made.event.eventId })
  expect(await memberOf(roomId, bob)).toBeUndefined()
  await deliver(stage, database, roomId, there, [before.text])
  await until(inboxIsEmpty(database, roomId))
  await until(async () => (await memberOf(roomId, bob))?.membership === 'invite')
  gate.resolve()
  expect(await stored(database, roomId, made.event.eventId)).toMatchObject({ flags: 0 })
})

test('in a room that we have left an invite counts again, whatever we knew last', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11', { powerLevelOverride: { invite: 0 } })
  await joinFrom(stage, database, roomId, there, 'mallory')
  await stage.rooms.call('changeMembership', roomId, {
    sender: alice,
    target: bob,
    membership: 'ban',
    content: '{}',
  })
  await leave(stage, roomId)
  const room = await adopt(database, roomId, there)
  for (const user of [alice, bob]) {
    const landed = await take(stage, inviteOf(room, user))
    expect(await memberOf(roomId, user)).toMatchObject({
      kind: 'joined',
      membership: 'invite',
      position: landed.position,
    })
  }
  await leave(stage, roomId)
  expect((await memberOf(roomId))!.membership).toBe('leave')
  expect(stage.errors).toEqual([])
})

test('an invite that was taken back is over', async () => {
  await using stage = await openStage(database, [there])
  const room = elsewhere()
  const made = inviteOf(room)
  await take(stage, made)
  room.state.set(`m.room.member ${alice}`, made.event)
  const back = room.make(mallory, 'm.room.member', { membership: 'leave' }, { stateKey: alice })
  await deliver(stage, database, room.roomId, there, [back.text])
  await until(inboxIsEmpty(database, room.roomId))
  expect((await memberOf(room.roomId))!.membership).toBe('leave')
  await take(stage, inviteOf(room, alice, { reason: 'after all' }))
  expect((await memberOf(room.roomId))!.membership).toBe('invite')
})

test.each(['1', '11', '12'])(
  'what an invite to a room of version %s cites is known once it is accepted',
  async (version) => {
    const resident = new RemoteServer('resident.test')
    const room = new RemoteRoom(version, [resident])
    const residents = new Residents([resident], [room])
    await using stage = await openStage(database, [], { federation: residents })
    const event = inviteIn(room)
    const landed = await take(stage, { event, text: '' }, { state: [] })
    const content = '{"displayname":"Alice"}'
    const joined = await stage.rooms.call('join', room.roomId, { userId: alice, content, via: [] })
    expect(await memberOf(room.roomId)).toMatchObject({ kind: 'joined', membership: 'join' })
    const rows = await database.pool<{ event_id: Uint8Array; cites: number; ordered: boolean }[]>`
      select e.event_id, cardinality(e.auth_nids) as cites, g.event_nid is not null as ordered
      from rooms r
      join events e on e.shard = r.shard and e.room_nid = r.room_nid
      left join auth_graph g on g.shard = e.shard and g.room_nid = e.room_nid
        and g.event_nid = e.event_nid
      where r.room_id = ${room.roomId}`
    const byId = new Map(rows.map((row) => [unpackEventId(row.event_id, room.version), row]))
    for (const id of [landed.eventId, joined.eventId])
      expect(byId.get(id)).toMatchObject({ ordered: true })
    expect(byId.get(landed.eventId)!.cites).toBe(event.authEvents.length)
    expect(stage.errors).toEqual([])
  },
)

/** The invite of alice, which the room has as we have signed it. */
function inviteIn(room: RemoteRoom): RoomEvent {
  return room.send({
    type: 'm.room.member',
    sender: room.creator,
    stateKey: alice,
    content: { membership: 'invite' },
  })
}
