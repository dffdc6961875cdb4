import { describe, expect, test } from 'bun:test'
import { until } from '#test/until.ts'
import { type Person, twoHomes } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const carol = await here.person('carol')
const enc = encodeURIComponent

const path = (roomId: string, rest: string) => `rooms/${enc(roomId)}/${rest}`
const stateOf = (who: Person, roomId: string, type: string, key = '') =>
  who.do('GET', path(roomId, `state/${type}/${enc(key)}`))
const upgrade = (who: Person, roomId: string, body: object) =>
  who.ask('POST', path(roomId, 'upgrade'), body)

describe('a room that is replaced', () => {
  test.each([
    ['9', '11'],
    ['11', '12'],
    ['12', '12'],
    ['12', '10'],
  ])('hands on what it is (version %s to %s)', async (from, to) => {
    const alias = `town-${from}-${to}`
    const { room_id: roomId } = await alice.do('POST', 'createRoom', {
      preset: 'public_chat',
      visibility: 'public',
      room_version: from,
      room_alias_name: alias,
      name: 'The town',
      creation_content: { type: 'm.space' },
      power_level_content_override: { users: from === '12' ? {} : { [alice.userId]: 100 } },
      initial_state: [
        { type: 'm.space.child', state_key: '!child:here.test', content: { via: ['here.test'] } },
        { type: 'm.room.encryption', content: { algorithm: 'm.megolm.v1.aes-sha2' } },
      ],
    })
    await alice.do('POST', path(roomId, 'ban'), { user_id: '@troll:here.test', reason: 'spam' })
    await bob.do('POST', `join/${enc(roomId)}?via=here.test`, {})

    const { status, body } = await upgrade(alice, roomId, { new_version: to })
    expect(status).toBe(200)
    const next = body.replacement_room as string
    expect(await stateOf(alice, next, 'm.room.create')).toMatchObject({
      room_version: to,
      type: 'm.space',
      predecessor: { room_id: roomId },
    })
    expect(await stateOf(alice, next, 'm.room.name')).toEqual({ name: 'The town' })
    expect(await stateOf(alice, next, 'm.room.join_rules')).toEqual({ join_rule: 'public' })
    expect(await stateOf(alice, next, 'm.space.child', '!child:here.test')).toEqual({
      via: ['here.test'],
    })
    expect(await stateOf(alice, next, 'm.room.member', '@troll:here.test')).toEqual({
      membership: 'ban',
      reason: 'spam',
    })
    const { users } = await stateOf(alice, next, 'm.room.power_levels')
    expect(users).toEqual(to === '12' ? {} : { [alice.userId]: 100 })

    expect(await stateOf(alice, roomId, 'm.room.tombstone')).toMatchObject({
      replacement_room: next,
    })
    expect(await stateOf(alice, roomId, 'm.room.power_levels')).toMatchObject({
      events_default: 50,
      invite: 50,
    })
    const found = await carol.do('GET', `directory/room/${enc(`#${alias}:here.test`)}`)
    expect(found.room_id).toBe(next)
    const { chunk } = await carol.do('GET', 'publicRooms')
    const ids = chunk.map((room: any) => room.room_id)
    expect([ids.includes(roomId), ids.includes(next)]).toEqual([false, true])

    // Who was told where it goes on can follow.
    await until(async () => {
      const answer = await bob.ask('GET', path(roomId, 'state/m.room.tombstone/'))
      return answer.body.replacement_room === next
    })
    await bob.do('POST', `join/${enc(next)}?via=here.test`, {})
    const talk = await bob.ask('PUT', path(roomId, 'send/m.room.message/x'), { body: 'late' })
    expect(talk.status).toBe(403)
  })

  test('is to each user what the old one was: its tags and push rules', async () => {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', { preset: 'public_chat' })
    await bob.do('POST', `join/${enc(roomId)}?via=here.test`, {})
    const ruleOf = (kind: string, id: string) => `pushrules/global/${kind}/${enc(id)}`
    const tags = (who: Person, id: string) => `user/${enc(who.userId)}/rooms/${enc(id)}/tags`
    for (const who of [alice, bob]) {
      await who.do('PUT', ruleOf('room', roomId), { actions: ['notify'] })
      await who.do('PUT', `${tags(who, roomId)}/m.favourite`, { order: 0.5 })
    }
    const condition = { kind: 'event_match', key: 'room_id', pattern: roomId }
    await bob.do('PUT', ruleOf('override', roomId), { actions: [], conditions: [condition] })
    const replaced = await upgrade(alice, roomId, { new_version: '11' })
    const next = replaced.body.replacement_room as string
    // His server believes it of the old room alone.
    const tombstone = path(roomId, 'state/m.room.tombstone/')
    await until(async () => (await bob.ask('GET', tombstone)).body.replacement_room === next)
    await bob.do('POST', `join/${enc(next)}?via=here.test`, {})
    for (const who of [alice, bob]) {
      expect((await who.do('GET', ruleOf('room', next))).actions).toEqual(['notify'])
      expect((await who.do('GET', tags(who, next))).tags).toEqual({ 'm.favourite': { order: 0.5 } })
    }
    expect((await bob.do('GET', ruleOf('override', next))).conditions).toEqual([
      { ...condition, pattern: next },
    ])
    // Who makes the new room by hand has them, too; and what is there already stays.
    const content = { creation_content: { predecessor: { room_id: roomId } } }
    const { room_id: byHand } = await alice.do('POST', 'createRoom', content)
    expect((await alice.do('GET', ruleOf('room', byHand))).actions).toEqual(['notify'])
    await bob.do('PUT', ruleOf('room', next), { actions: [] })
    await bob.do('POST', path(next, 'leave'), {})
    await bob.do('POST', `join/${enc(next)}?via=here.test`, {})
    expect((await bob.do('GET', ruleOf('room', next))).actions).toEqual([])
  })

  test('has the further creators that are named, in versions that know them', async () => {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', { room_version: '11' })
    const more = { new_version: '12', additional_creators: [carol.userId] }
    const { body } = await upgrade(alice, roomId, more)
    const create = await stateOf(alice, body.replacement_room, 'm.room.create')
    expect(create.additional_creators).toEqual([carol.userId])
    const old = await upgrade(alice, body.replacement_room, { ...more, new_version: '11' })
    const { additional_creators: none } = await stateOf(
      alice,
      old.body.replacement_room,
      'm.room.create',
    )
    expect(none).toBeUndefined()
  })

  test('has no creators of the old one, of version 12, but those that are named', async () => {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', {
      preset: 'public_chat',
      room_version: '12',
      power_level_content_override: { users: { [carol.userId]: 150 } },
    })
    await carol.do('POST', `join/${enc(roomId)}`, {})
    const { body } = await upgrade(carol, roomId, { new_version: '12' })
    const next = body.replacement_room
    expect((await stateOf(carol, next, 'm.room.power_levels')).users).toEqual({})
    // Where creators have no power of their own, they keep what others could have.
    const old = await upgrade(carol, next, { new_version: '11' })
    const { users } = await stateOf(carol, old.body.replacement_room, 'm.room.power_levels')
    expect(users).toEqual({ [carol.userId]: 100 })
  })

  test('is replaced by a moderator who keeps no more power than before', async () => {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', {
      preset: 'public_chat',
      room_version: '11',
      power_level_content_override: {
        users: { [alice.userId]: 100, [carol.userId]: 50 },
        events: { 'm.room.tombstone': 50, 'm.room.name': 100 },
      },
      name: 'Guarded',
    })
    await carol.do('POST', `join/${enc(roomId)}`, {})
    const { body } = await upgrade(carol, roomId, { new_version: '10' })
    const { users } = await stateOf(carol, body.replacement_room, 'm.room.power_levels')
    expect(users).toEqual({ [alice.userId]: 100, [carol.userId]: 50 })
    expect(await stateOf(carol, body.replacement_room, 'm.room.name')).toEqual({ name: 'Guarded' })
  })
})

test('whoever may not, or wants what there is not, replaces nothing', async () => {
  const { room_id: roomId } = await alice.do('POST', 'createRoom', { preset: 'public_chat' })
  const asks = async (who: Person, body: object) => {
    const { status, body: answer } = await upgrade(who, roomId, body)
    return [status, answer.errcode]
  }
  expect(await asks(carol, { new_version: '11' })).toEqual([403, 'M_FORBIDDEN'])
  await carol.do('POST', `join/${enc(roomId)}`, {})
  expect(await asks(carol, { new_version: '11' })).toEqual([403, 'M_FORBIDDEN'])
  expect(await asks(alice, { new_version: '99' })).toEqual([400, 'M_UNSUPPORTED_ROOM_VERSION'])
  expect(await asks(alice, {})).toEqual([400, 'M_BAD_JSON'])
  const bad = { new_version: '12', additional_creators: ['nobody'] }
  expect(await asks(alice, bad)).toEqual([400, 'M_INVALID_PARAM'])
  expect((await alice.ask('GET', path(roomId, 'state/m.room.tombstone/'))).status).toBe(404)
})
