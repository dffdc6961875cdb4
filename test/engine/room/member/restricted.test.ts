import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import { inspectPdu } from '#core/event/check.ts'
import { checkEventSignatures } from '#core/event/signatures.ts'
import type { JsonObject } from '#core/json.ts'
import { versionOf } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { alice, createRoom, openStage, refusal, setState, stored, us } from '#test/room-engine.ts'
import { there } from '#test/engine/room/scene.ts'
import {
  ban,
  invite,
  joinByTemplate,
  makeJoin,
  membership,
  sign,
  third,
} from '#test/engine/room/serving.ts'

const database = await testDatabase()
const restricted = ['8', '11', '12']

const allow = (...rooms: string[]) => ({
  join_rule: 'restricted',
  allow: rooms.map((room) => ({ type: 'm.room_membership', room_id: room })),
})

test.each(restricted)(
  'a restricted join in a room of version %s is authorised by one of our users, and signed by us',
  async (version) => {
    await using stage = await openStage(database, [there])
    const space = await createRoom(stage, version)
    const roomId = await createRoom(stage, version)
    await setState(stage, roomId, 'm.room.join_rules', allow(space))
    expect(await refusal(makeJoin(stage, roomId, version))).toEqual([403, 'M_FORBIDDEN'])
    await joinByTemplate(stage, space, version)

    const { made, landed } = await joinByTemplate(stage, roomId, version)
    expect(made.event.content['join_authorised_via_users_server']).toBe(alice)
    expect(landed.eventId).toBe(made.event.eventId)
    const inspected = inspectPdu(versionOf(version), parseJson(landed.event), { roomId })
    if (typeof inspected === 'string') throw new Error(inspected)
    const keys = (server: string) => ({
      publicKey: (server === us.name ? us : there).key.publicKey,
      validUntilTs: Number.MAX_SAFE_INTEGER,
      old: false,
    })
    expect(checkEventSignatures(inspected.event, keys, Date.now())).toEqual({ outcome: 'valid' })
    expect((await stored(database, roomId, landed.eventId))!.json).toBe(landed.event)
    expect(await membership(database, roomId)).toBe('join')
    // Handed in again, it comes back with our signature too.
    const again = await stage.rooms.call('sendJoin', roomId, there.name, made.text)
    expect(again.event).toBe(landed.event)
    // Who is in the room needs nobody any more.
    expect((await makeJoin(stage, roomId, version)).event).not.toContain('authorised')
  },
)

test('a condition that we cannot see is not one that fails', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  const space = await createRoom(stage, '11')
  const unable: [number, string] = [400, 'M_UNABLE_TO_AUTHORISE_JOIN']
  await setState(stage, roomId, 'm.room.join_rules', allow('!elsewhere:third.test'))
  expect(await refusal(makeJoin(stage, roomId, '11'))).toEqual(unable)
  await setState(stage, roomId, 'm.room.join_rules', allow('!elsewhere:third.test', space))
  expect(await refusal(makeJoin(stage, roomId, '11'))).toEqual(unable)
  // One that is met is enough, and who is invited, or banned, meets or fails without any.
  await joinByTemplate(stage, space, '11')
  await makeJoin(stage, roomId, '11')
  const guest = there.user('guest')
  await invite(stage, roomId, guest)
  expect((await makeJoin(stage, roomId, '11', guest)).event).not.toContain('authorised')
  await ban(stage, roomId, there.user('villain'))
  expect(await refusal(makeJoin(stage, roomId, '11', there.user('villain')))).toEqual([
    403,
    'M_FORBIDDEN',
  ])
  // Conditions of a kind that nobody knows are none.
  await setState(stage, roomId, 'm.room.join_rules', {
    join_rule: 'restricted',
    allow: [{ type: 'm.sunshine' }],
  })
  expect(await refusal(makeJoin(stage, roomId, '11', there.user('x')))).toEqual([
    403,
    'M_FORBIDDEN',
  ])
})

test('members of a room that we have left are not known any more', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  const space = await createRoom(stage, '11')
  await joinByTemplate(stage, space, '11')
  await setState(stage, roomId, 'm.room.join_rules', allow(space))
  await makeJoin(stage, roomId, '11')
  await stage.rooms.call('changeMembership', space, {
    sender: alice,
    target: alice,
    membership: 'leave',
    content: '{}',
  })
  expect(await refusal(makeJoin(stage, roomId, '11'))).toEqual([400, 'M_UNABLE_TO_AUTHORISE_JOIN'])
})

test('if none of our users may invite, another server must let the user in', async () => {
  await using stage = await openStage(database, [there])
  const space = await createRoom(stage, '11')
  await joinByTemplate(stage, space, '11')
  const closed = await createRoom(stage, '11')
  await setState(stage, closed, 'm.room.join_rules', allow(space))
  const early = sign('11', (await makeJoin(stage, closed, '11')).event)
  const levels = { invite: 100, users: { [alice]: 100 } }
  await setState(stage, closed, 'm.room.power_levels', levels)
  await setState(stage, closed, 'm.room.power_levels', { ...levels, users: { [alice]: 99 } })
  const unable: [number, string] = [400, 'M_UNABLE_TO_GRANT_JOIN']
  expect(await refusal(makeJoin(stage, closed, '11'))).toEqual(unable)
  // Nor is one let in that was made before, or that names whoever else.
  const late = stage.rooms.call('sendJoin', closed, there.name, early.text)
  expect(await refusal(late)).toEqual(unable)

  const roomId = await createRoom(stage, '11')
  await setState(stage, roomId, 'm.room.join_rules', allow(space))
  const json = parseJson((await makeJoin(stage, roomId, '11')).event) as JsonObject
  const named = (user: string) =>
    sign(
      '11',
      JSON.stringify({
        ...json,
        content: { membership: 'join', join_authorised_via_users_server: user },
      }),
    ).text
  for (const [user, expected] of [
    [us.user('nobody'), unable],
    [there.user('nadia'), [403, 'M_FORBIDDEN']],
    [third.user('carol'), [403, 'M_FORBIDDEN']],
  ] as [string, [number, string]][]) {
    const refused = stage.rooms.call('sendJoin', roomId, there.name, named(user))
    expect([user, await refusal(refused)]).toEqual([user, expected])
  }
  expect(await membership(database, roomId)).toBeUndefined()
})
