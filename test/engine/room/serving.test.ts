import { expect, test } from 'bun:test'
import { parseJson } from '#core/canonical-json.ts'
import type { JsonObject } from '#core/json.ts'
import { commit } from '#store/room/commit.ts'
import type { Made } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import {
  adopt,
  alice,
  bob,
  createRoom,
  joinFrom,
  openStage,
  refusal,
  say,
  setState,
  stored,
  until,
} from '#test/room-engine.ts'
import {
  ban,
  destinations,
  invite,
  joinByTemplate,
  leaveByTemplate,
  makeJoin,
  membership,
  sign,
  third,
} from './serving.ts'
import { mallory, openScene, there } from './scene.ts'

const database = await testDatabase()
const versions = ['1', '6', '8', '11', '12']

test.each(versions)(
  'a user of another server joins and leaves a room of version %s by the templates it is given',
  async (version) => {
    await using stage = await openStage(database, [there, third])
    const roomId = await createRoom(stage, version)
    await joinFrom(stage, database, roomId, third, 'carol')
    await say(stage, roomId, 'hello')

    const template = await makeJoin(stage, roomId, version)
    expect(template.version).toBe(version)
    const { heads } = await adopt(database, roomId)
    const { event } = sign(version, template.event)
    expect(event).toMatchObject({ sender: mallory, stateKey: mallory, type: 'm.room.member' })
    expect(event.roomId).toBe(roomId)
    expect(event.prevEvents).toEqual(heads)
    expect(event.content).toEqual({ membership: 'join' })

    const { made, landed } = await joinByTemplate(stage, roomId, version)
    expect(landed.eventId).toBe(made.event.eventId)
    expect(parseJson(landed.event)).toEqual(parseJson(made.text))
    expect(await membership(database, roomId)).toBe('join')
    const row = await stored(database, roomId, landed.eventId)
    expect(row).toMatchObject({ flags: 0, position: landed.position, json: landed.event })
    expect(await destinations(database, roomId, landed.eventId)).toEqual([
      'there.test',
      'third.test',
    ])
    expect((await adopt(database, roomId)).heads).toEqual([landed.eventId])

    const left = await leaveByTemplate(stage, roomId, version)
    expect(await membership(database, roomId)).toBe('leave')
    expect(await destinations(database, roomId, left.landed.eventId)).toEqual([
      'there.test',
      'third.test',
    ])
    const after = await say(stage, roomId, 'gone')
    expect(await destinations(database, roomId, after.eventId)).toEqual(['third.test'])
    expect(stage.errors).toEqual([])
  },
)

test.each(versions)(
  'an invite to a room of version %s is accepted, or declined',
  async (version) => {
    await using stage = await openStage(database, [there])
    const roomId = await createRoom(stage, version, { preset: 'private_chat' })
    expect(await refusal(makeJoin(stage, roomId, version))).toEqual([403, 'M_FORBIDDEN'])
    await invite(stage, roomId)
    await leaveByTemplate(stage, roomId, version)
    expect(await membership(database, roomId)).toBe('leave')
    // Who has declined needs another.
    expect(await refusal(makeJoin(stage, roomId, version))).toEqual([403, 'M_FORBIDDEN'])
    await invite(stage, roomId)
    await joinByTemplate(stage, roomId, version)
    expect(await membership(database, roomId)).toBe('join')
  },
)

test('no template is made of what would not be let in', async () => {
  await using stage = await openStage(database, [there])
  const { rooms } = stage
  const leave = (roomId: string) => rooms.call('makeLeave', roomId, mallory, there.name)
  const unknown = '!nothing:us.test'
  expect(await refusal(makeJoin(stage, unknown, '11'))).toEqual([404, 'M_NOT_FOUND'])
  expect(await refusal(leave(unknown))).toEqual([404, 'M_NOT_FOUND'])

  const roomId = await createRoom(stage, '11')
  const other = rooms.call('makeJoin', roomId, mallory, ['1', '12'], there.name)
  await expect(other).rejects.toMatchObject({
    status: 400,
    errcode: 'M_INCOMPATIBLE_ROOM_VERSION',
    extra: { room_version: '11' },
  })
  // Who is not in the room cannot leave it.
  expect(await refusal(leave(roomId))).toEqual([403, 'M_FORBIDDEN'])
  await ban(stage, roomId)
  expect(await refusal(makeJoin(stage, roomId, '11'))).toEqual([403, 'M_FORBIDDEN'])
  expect(await refusal(leave(roomId))).toEqual([403, 'M_FORBIDDEN'])

  const walled = await createRoom(stage, '11')
  await setState(stage, walled, 'm.room.server_acl', { allow: ['*'], deny: [there.name] })
  expect(await refusal(makeJoin(stage, walled, '11'))).toEqual([403, 'M_FORBIDDEN'])

  const own = await createRoom(stage, '11', { creationContent: { 'm.federate': false } })
  expect(await refusal(makeJoin(stage, own, '11'))).toEqual([403, 'M_FORBIDDEN'])
})

test('a room that the last user of ours has left is none to ask us for', async () => {
  await using stage = await openScene(database, { version: '11' })
  const { roomId, room } = stage
  await stage.rooms.call('changeMembership', roomId, {
    sender: alice,
    target: alice,
    membership: 'leave',
    content: '{}',
  })
  expect(await refusal(makeJoin(stage, roomId, '11', there.user('x')))).toEqual([
    404,
    'M_NOT_FOUND',
  ])
  const { text } = room.member(mallory, mallory, 'leave')
  const sent = stage.rooms.call('sendLeave', roomId, there.name, text)
  expect(await refusal(sent)).toEqual([404, 'M_NOT_FOUND'])
})

test('what is handed in again is answered the same, and is there once', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  const made = sign('11', (await makeJoin(stage, roomId, '11')).event)
  const handIn = () => stage.rooms.call('sendJoin', roomId, there.name, made.text)
  const [first, second] = await Promise.all([handIn(), handIn()])
  const third = await handIn()
  for (const each of [second, third])
    expect([each.eventId, each.event]).toEqual([first.eventId, first.event])
  const left = await leaveByTemplate(stage, roomId, '11')
  const again = await stage.rooms.call('sendLeave', roomId, there.name, left.made.text)
  expect(again.eventId).toBe(left.landed.eventId)
  expect((await handIn()).eventId).toBe(first.eventId)
  expect(await membership(database, roomId)).toBe('leave')
  expect(stage.errors).toEqual([])
})

test('nothing is answered before it is committed, nor cites what is not', async () => {
  let gate: Promise<void> | undefined
  await using stage = await openStage(database, [there], {
    commit: async (pool, batch) => {
      await gate
      await commit(pool, batch)
    },
  })
  const roomId = await createRoom(stage, '11')
  const made = sign('11', (await makeJoin(stage, roomId, '11')).event)
  const { promise, resolve } = Promise.withResolvers<void>()
  gate = promise
  const answered: string[] = []
  const note = async (what: string, call: Promise<unknown>) => {
    await call
    answered.push(what)
  }
  const handIn = () => stage.rooms.call('sendJoin', roomId, there.name, made.text)
  const join = () => stage.rooms.call('join', roomId, { userId: bob, content: '{}', via: [] })
  const calls = [note('first', handIn()), note('second', handIn())]
  calls.push(note('bob', join()), note('bob again', join()))
  await until(() => stage.engine.parts.persister.pending > 0)
  calls.push(note('template', makeJoin(stage, roomId, '11', there.user('nadia'))))
  await Bun.sleep(50)
  const early = [...answered]
  resolve()
  expect(early).toEqual([])
  await Promise.all(calls)
  expect(answered.sort()).toEqual(['bob', 'bob again', 'first', 'second', 'template'])
})

test('a commit that fails is made again with what was handed in', async () => {
  let failures = 1
  await using stage = await openStage(database, [there], {
    commit: async (pool, batch) => {
      const joins = batch.parts.some(({ events }) =>
        events.some(({ json }) => /mallory/.test(json)),
      )
      if (joins && failures-- > 0) throw new Error('no')
      await commit(pool, batch)
    },
  })
  const roomId = await createRoom(stage, '11')
  const made = sign('11', (await makeJoin(stage, roomId, '11')).event)
  const [landed] = await Promise.all([
    stage.rooms.call('sendJoin', roomId, there.name, made.text),
    say(stage, roomId, 'meanwhile'),
  ])
  expect(await stored(database, roomId, landed.eventId)).toMatchObject({ flags: 0 })
  expect(await membership(database, roomId)).toBe('join')
})

test('what is not a signed join or leave of its server’s own user is refused', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  const room = await joinFrom(stage, database, roomId, there, 'nadia')
  const make = (sender: string, content: JsonObject, wish = {}) =>
    room.make(sender, 'm.room.member', content, { stateKey: sender, ...wish })
  const join = { membership: 'join' }
  const cases: [string, Made, [number, string]][] = [
    ['a leave', make(mallory, { membership: 'leave' }), [400, 'M_INVALID_PARAM']],
    ['another', make(mallory, join, { stateKey: bob }), [400, 'M_INVALID_PARAM']],
    ['ours', make(bob, join), [403, 'M_FORBIDDEN']],
    [
      'a forged one',
      make(mallory, join, { after: (pdu: JsonObject) => (pdu['signatures'] = {}) }),
      [400, 'M_BAD_JSON'],
    ],
    [
      'a changed one',
      make(mallory, join, { after: (pdu: JsonObject) => (pdu['content'] = { ...join, n: 1 }) }),
      [400, 'M_INVALID_PARAM'],
    ],
    [
      'one without a past',
      make(mallory, join, { prev: [make(mallory, join).event.eventId] }),
      [400, 'M_BAD_STATE'],
    ],
  ]
  for (const [what, { text }, expected] of cases) {
    const sent = stage.rooms.call('sendJoin', roomId, there.name, text)
    expect([what, await refusal(sent)]).toEqual([what, expected])
  }
  expect(await membership(database, roomId)).toBeUndefined()
  // A kick is no leave.
  const kick = room.make(
    there.user('nadia'),
    'm.room.member',
    { membership: 'leave' },
    { stateKey: alice },
  )
  const kicked = stage.rooms.call('sendLeave', roomId, there.name, kick.text)
  expect(await refusal(kicked)).toEqual([400, 'M_INVALID_PARAM'])
})

test('a join that the room no longer allows is refused, and nothing of it is kept', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  const made = sign('11', (await makeJoin(stage, roomId, '11')).event)
  await ban(stage, roomId)
  const handIn = () => stage.rooms.call('sendJoin', roomId, there.name, made.text)
  expect(await refusal(handIn())).toEqual([403, 'M_FORBIDDEN'])
  expect(await refusal(handIn())).toEqual([403, 'M_FORBIDDEN'])
  expect(await stored(database, roomId, made.event.eventId)).toBeUndefined()
  expect(await membership(database, roomId)).toBe('ban')

  const walled = await createRoom(stage, '11')
  const late = sign('11', (await makeJoin(stage, walled, '11')).event)
  await setState(stage, walled, 'm.room.server_acl', { allow: ['us.test'] })
  const sent = stage.rooms.call('sendJoin', walled, there.name, late.text)
  expect(await refusal(sent)).toEqual([403, 'M_FORBIDDEN'])
})

test('a join whose own past does not allow it is refused every time', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11', { preset: 'private_chat' })
  const closed = await adopt(database, roomId, there)
  const early = closed.make(mallory, 'm.room.member', { membership: 'join' }, { stateKey: mallory })
  await setState(stage, roomId, 'm.room.join_rules', { join_rule: 'public' })
  for (let time = 0; time < 2; time++) {
    const sent = stage.rooms.call('sendJoin', roomId, there.name, early.text)
    expect(await refusal(sent)).toEqual([403, 'M_FORBIDDEN'])
  }
  expect(await membership(database, roomId)).toBeUndefined()
  await joinByTemplate(stage, roomId, '11')
  expect(await membership(database, roomId)).toBe('join')
})

test('local sends do not wait for the keys of who hands in a join', async () => {
  await using stage = await openStage(database, [there])
  const roomId = await createRoom(stage, '11')
  const made = sign('11', (await makeJoin(stage, roomId, '11')).event)
  const { promise, resolve } = Promise.withResolvers<void>()
  stage.federation.keysGate = promise
  const joining = stage.rooms.call('sendJoin', roomId, there.name, made.text)
  await until(() => stage.federation.askedKeys.length > 0)
  const said = await say(stage, roomId, 'meanwhile')
  expect(said.position).toBeGreaterThan(0)
  resolve()
  expect((await joining).eventId).toBe(made.event.eventId)
})

test('a join whose keys cannot be had is refused', async () => {
  await using stage = await openStage(database, [])
  const roomId = await createRoom(stage, '11')
  const made = sign('11', (await makeJoin(stage, roomId, '11')).event)
  const sent = stage.rooms.call('sendJoin', roomId, there.name, made.text)
  expect(await refusal(sent)).toEqual([403, 'M_FORBIDDEN'])
})
