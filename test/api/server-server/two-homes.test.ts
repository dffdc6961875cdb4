import { describe, expect, test } from 'bun:test'
import { until } from '#test/until.ts'
import { type Person, twoHomes } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const enc = encodeURIComponent

const publicRoom = async (version: string, extra: object = {}) => {
  const request = { preset: 'public_chat', room_version: version, ...extra }
  return (await alice.do('POST', 'createRoom', request)).room_id as string
}
const join = (who: Person, roomId: string) =>
  who.do('POST', `join/${enc(roomId)}?via=here.test`, {})

describe('a user of another server', () => {
  test.each(['1', '3', '6', '11', '12'])(
    'joins a room of version %s and talks',
    async (version) => {
      const roomId = await publicRoom(version)
      await alice.say(roomId, 'before')
      await join(bob, roomId)
      expect(await bob.membershipOf(roomId, alice.userId)).toBe('join')
      await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')
      await alice.say(roomId, 'from here')
      await until(async () => (await bob.texts(roomId)).includes('from here'))
      await bob.say(roomId, 'from there')
      await until(async () => (await alice.texts(roomId)).includes('from there'))
      expect(await alice.texts(roomId)).toEqual(['before', 'from here', 'from there'])
      await until(async () => (await bob.texts(roomId)).length === 3)
      expect(await bob.texts(roomId)).toEqual(['before', 'from here', 'from there'])
    },
  )

  test('is invited, sees it, and joins or declines', async () => {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', { preset: 'private_chat' })
    const carol = await there.person('carol')
    await alice.do('POST', `rooms/${enc(roomId)}/invite`, { user_id: bob.userId })
    await alice.do('POST', `rooms/${enc(roomId)}/invite`, { user_id: carol.userId })
    const invites = async (who: Person) =>
      Object.keys((await who.do('GET', 'sync?timeout=0')).rooms?.invite ?? {})
    await until(async () => (await invites(bob)).includes(roomId))
    await until(async () => (await invites(carol)).includes(roomId))

    await bob.do('POST', `rooms/${enc(roomId)}/join`, {})
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')
    await carol.do('POST', `rooms/${enc(roomId)}/leave`, {})
    await until(async () => (await alice.membershipOf(roomId, carol.userId)) === 'leave')
    expect(await invites(carol)).not.toContain(roomId)
  })

  test('is invited no longer when the invite is taken back', async () => {
    const { room_id: roomId } = await alice.do('POST', 'createRoom', { preset: 'private_chat' })
    const invited = async () =>
      Object.keys((await bob.do('GET', 'sync?timeout=0')).rooms?.invite ?? {}).includes(roomId)
    await alice.do('POST', `rooms/${enc(roomId)}/invite`, { user_id: bob.userId })
    await until(invited)
    await alice.do('POST', `rooms/${enc(roomId)}/kick`, { user_id: bob.userId })
    await until(async () => !(await invited()))
  })

  test('leaves, is kicked and is banned', async () => {
    const roomId = await publicRoom('11')
    await join(bob, roomId)
    await bob.do('POST', `rooms/${enc(roomId)}/leave`, {})
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'leave')
    await join(bob, roomId)
    await alice.do('POST', `rooms/${enc(roomId)}/kick`, { user_id: bob.userId })
    await until(
      async () =>
        (await bob.ask('GET', 'joined_rooms')).body.joined_rooms.includes(roomId) === false,
    )
    await alice.do('POST', `rooms/${enc(roomId)}/ban`, { user_id: bob.userId })
    const { status, body } = await bob.ask('POST', `join/${enc(roomId)}?via=here.test`, {})
    expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN'])
  })

  test('hears nothing of a room that they left, and all that is said when they are back', async () => {
    const roomId = await publicRoom('11')
    await join(bob, roomId)
    await bob.do('POST', `rooms/${enc(roomId)}/leave`, {})
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'leave')
    await alice.say(roomId, 'between')
    await join(bob, roomId)
    await until(async () => (await alice.membershipOf(roomId, bob.userId)) === 'join')
    await alice.say(roomId, 'welcome back')
    await until(async () => (await bob.texts(roomId)).includes('welcome back'))
    await bob.say(roomId, 'hello again')
    await until(async () => (await alice.texts(roomId)).includes('hello again'))
  })

  test('finds profiles, aliases and published rooms', async () => {
    await alice.do('PUT', `profile/${enc(alice.userId)}/displayname`, { displayname: 'Alice' })
    const profile = await bob.do('GET', `profile/${enc(alice.userId)}`)
    expect(profile.displayname).toBe('Alice')
    const roomId = await publicRoom('11', {
      room_alias_name: 'lounge',
      visibility: 'public',
      name: 'The lounge',
    })
    const found = await bob.do('GET', `directory/room/${enc('#lounge:here.test')}`)
    expect(found).toEqual({ room_id: roomId, servers: expect.arrayContaining(['here.test']) })
    const { chunk } = await bob.do('GET', 'publicRooms?server=here.test')
    expect(chunk).toContainEqual(expect.objectContaining({ room_id: roomId, name: 'The lounge' }))
  })
})

test('a server that was stopped for a while catches up', async () => {
  const roomId = await publicRoom('11')
  await join(bob, roomId)
  await alice.say(roomId, 'one')
  await until(async () => (await bob.texts(roomId)).includes('one'))
  await there.stop()
  for (const text of ['two', 'three', 'four']) await alice.say(roomId, text)
  await there.start()
  await until(async () => (await bob.texts(roomId)).length === 4)
  expect(await bob.texts(roomId)).toEqual(['one', 'two', 'three', 'four'])
  await bob.say(roomId, 'five')
  await until(async () => (await alice.texts(roomId)).length === 5)
})
