import { describe, expect, test } from 'bun:test'
import { until } from '#test/until.ts'
import { type Person, twoHomes } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const enc = encodeURIComponent

const roomWith = async (rules: object, version = '11') => {
  const { room_id: roomId } = await alice.do('POST', 'createRoom', {
    preset: 'private_chat',
    room_version: version,
    name: 'The club',
    initial_state: [{ type: 'm.room.join_rules', state_key: '', content: rules }],
  })
  return roomId as string
}
const knock = (who: Person, roomId: string) =>
  who.ask('POST', `knock/${enc(roomId)}?via=here.test`, { reason: 'please' })
const section = async (who: Person, name: string) =>
  (await who.do('GET', 'sync?timeout=0')).rooms?.[name] ?? {}
const isKnocking = async (who: Person, roomId: string) => roomId in (await section(who, 'knock'))

describe('who knocks at another server', () => {
  test.each(['7', '11', '12'])('is shown the room, and let in (version %s)', async (version) => {
    const roomId = await roomWith({ join_rule: 'knock' }, version)
    expect((await knock(bob, roomId)).status).toBe(200)
    const { events } = (await section(bob, 'knock'))[roomId].knock_state
    const names = events.map((event: any) => [event.type, event.content.name])
    expect(names).toContainEqual(['m.room.name', 'The club'])
    expect(events).toContainEqual(
      expect.objectContaining({
        type: 'm.room.member',
        state_key: bob.userId,
        content: expect.objectContaining({ membership: 'knock', reason: 'please' }),
      }),
    )
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'knock')
    await alice.do('POST', `rooms/${enc(roomId)}/invite`, { user_id: bob.userId })
    await until(async () => roomId in (await section(bob, 'invite')))
    expect(await isKnocking(bob, roomId)).toBe(false)
    await bob.do('POST', `rooms/${enc(roomId)}/join`, {})
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')
  })

  test('takes it back at the server that took it', async () => {
    const roomId = await roomWith({ join_rule: 'knock' }, '12')
    await knock(bob, roomId)
    await bob.do('POST', `rooms/${enc(roomId)}/leave`, {})
    expect(await isKnocking(bob, roomId)).toBe(false)
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'leave')
  })

  test('hears when they are turned away', async () => {
    const roomId = await roomWith({ join_rule: 'knock' })
    await knock(bob, roomId)
    await alice.do('POST', `rooms/${enc(roomId)}/kick`, { user_id: bob.userId })
    await until(async () => !(await isKnocking(bob, roomId)))
  })

  test('is refused where nobody may knock, or the room is too old for it', async () => {
    const closed = await knock(bob, await roomWith({ join_rule: 'invite' }))
    expect([closed.status, closed.body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    const old = await knock(bob, await roomWith({ join_rule: 'invite' }, '6'))
    expect([old.status, old.body.errcode]).toEqual([400, 'M_INCOMPATIBLE_ROOM_VERSION'])
    const nowhere = await bob.ask('POST', `knock/${enc('!nothing:there.test')}`, {})
    expect([nowhere.status, nowhere.body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  })

  test('is refused where the access list keeps their server out', async () => {
    const roomId = await roomWith({ join_rule: 'knock' })
    await alice.do('PUT', `rooms/${enc(roomId)}/state/m.room.server_acl`, {
      allow: ['*'],
      deny: ['there.test'],
    })
    expect((await knock(bob, roomId)).status).toBe(403)
  })
})

test('who knocks at home is shown the room, and may take it back', async () => {
  const roomId = await roomWith({ join_rule: 'knock' })
  const carol = await here.person('carol')
  expect((await knock(carol, roomId)).status).toBe(200)
  const { events } = (await section(carol, 'knock'))[roomId].knock_state
  expect(events.map((event: any) => event.type)).toContain('m.room.name')
  expect((await knock(alice, roomId)).status).toBe(403)
  await carol.do('POST', `rooms/${enc(roomId)}/leave`, {})
  expect(await isKnocking(carol, roomId)).toBe(false)
})

test('members of a room are let into another by a restricted rule, at home and afar', async () => {
  const { room_id: space } = await alice.do('POST', 'createRoom', { preset: 'public_chat' })
  const allow = [{ type: 'm.room_membership', room_id: space }]
  const roomId = await roomWith({ join_rule: 'knock_restricted', allow })
  const path = `join/${enc(roomId)}?via=here.test`
  const dave = await here.person('dave')
  for (const who of [bob, dave]) {
    expect((await who.ask('POST', path, {})).status).toBe(403)
    await who.do('POST', `join/${enc(space)}?via=here.test`, {})
    await until(async () => (await alice.membershipOf(space, who.userId)) === 'join')
    expect((await who.ask('POST', path, {})).status).toBe(200)
  }
  // Now the other server is in both, but has nobody who may invite.
  await alice.do('PUT', `rooms/${enc(roomId)}/state/m.room.power_levels`, {
    ...(await alice.do('GET', `rooms/${enc(roomId)}/state/m.room.power_levels`)),
    invite: 50,
  })
  const erin = await there.person('erin')
  await erin.do('POST', `join/${enc(space)}?via=here.test`, {})
  await until(async () => (await alice.membershipOf(space, erin.userId)) === 'join')
  await until(async () => {
    const levels = await bob.do('GET', `rooms/${enc(roomId)}/state/m.room.power_levels`)
    return levels.invite === 50
  })
  expect((await erin.ask('POST', path, {})).status).toBe(200)
})
