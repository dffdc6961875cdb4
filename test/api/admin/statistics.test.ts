import { expect, test } from 'bun:test'
import { type Person, twoHomes } from '#test/api/server-server/two-homes.ts'
import { until } from '#test/until.ts'

const enc = encodeURIComponent
const v1 = '/_synapse/admin/v1'

const [here, there] = await twoHomes()
const root = await here.person('root')
await here.context.accounts.change(root.userId, { admin: true })
const [alice, bob] = [await here.person('alice'), await there.person('bob')]

const ask = async (method: string, path: string, body?: object) => {
  const response = await root.fetch(path, { method, ...(body && { body: JSON.stringify(body) }) })
  return { status: response.status, body: (await response.json()) as any }
}

test('the invites that a user sent and the rooms that they joined are counted', async () => {
  const invites = async (userId: string, query = '') =>
    (await ask('GET', `${v1}/users/${enc(userId)}/sent_invite_count${query}`)).body.invite_count
  const joined = async (userId: string, query = '') =>
    (await ask('GET', `${v1}/users/${enc(userId)}/cumulative_joined_room_count${query}`)).body
      .cumulative_joined_room_count
  const carol = await here.person('carol')
  expect([await invites(carol.userId), await joined(carol.userId)]).toEqual([0, 0])
  const make = async (of: Person, wish: object = {}) =>
    (await of.do('POST', 'createRoom', { preset: 'public_chat', ...wish })).room_id as string
  await make(carol, { invite: [alice.userId, bob.userId] })
  const left = await make(carol)
  await carol.do('POST', `rooms/${enc(left)}/invite`, { user_id: alice.userId })
  await carol.do('POST', `rooms/${enc(left)}/leave`, {})
  const afar = await make(bob)
  await carol.do('POST', `join/${enc(afar)}?via=there.test`, {})
  // Invited only, and invited by somebody else.
  const others = await make(alice, { invite: [carol.userId] })
  // Changes of a profile are no further rooms.
  await carol.do('PUT', `profile/${enc(carol.userId)}/displayname`, { displayname: 'Carol' })
  await until(async () => {
    const path = `rooms/${enc(afar)}/state/m.room.member/${enc(carol.userId)}`
    return (await carol.do('GET', path)).displayname === 'Carol'
  })
  expect([await invites(carol.userId), await joined(carol.userId)]).toEqual([3, 3])
  expect(await invites(alice.userId)).toBe(1)
  const later = `?from_ts=${Date.now() + 1_000_000}`
  expect([await invites(carol.userId, later), await joined(carol.userId, later)]).toEqual([0, 0])
  await carol.do('POST', `rooms/${enc(others)}/leave`, {})
  expect(await joined(carol.userId)).toBe(3)
  for (const path of ['sent_invite_count', 'cumulative_joined_room_count']) {
    expect((await ask('GET', `${v1}/users/@none:here.test/${path}`)).status).toBe(404)
    expect((await ask('GET', `${v1}/users/${alice.userId}/${path}?from_ts=x`)).status).toBe(400)
    expect((await alice.fetch(`${v1}/users/${alice.userId}/${path}`)).status).toBe(403)
  }
})

test('the rooms that take most of the database come first', async () => {
  const make = async () =>
    (await alice.do('POST', 'createRoom', { preset: 'public_chat' })).room_id as string
  const [large, small] = [await make(), await make()]
  for (let n = 0; n < 30; n++) await alice.say(large, 'x'.repeat(2000))
  await here.context.sql`analyze`
  const { status, body } = await ask('GET', `${v1}/statistics/database/rooms`)
  expect(status).toBe(200)
  const rooms = body.rooms as { room_id: string; estimated_size: number }[]
  expect(rooms[0]!.room_id).toBe(large)
  expect(rooms.find(({ room_id: id }) => id === small)!.estimated_size).toBeGreaterThan(0)
  const sizes = rooms.map((row) => row.estimated_size)
  expect(sizes).toEqual(sizes.toSorted((a, b) => b - a))
})

test('features are the same for everybody, and said to be', async () => {
  const path = `${v1}/experimental_features/${enc(alice.userId)}`
  const { body } = await ask('GET', path)
  expect(body.features).toEqual({ msc3575: true, msc3881: false, msc4222: true })
  expect((await ask('PUT', path, body)).status).toBe(200)
  for (const features of [{ msc3575: false }, { msc3881: true }, { msc0: true }, { a: 'b' }])
    expect(await ask('PUT', path, { features })).toMatchObject({
      status: 400,
      body: { errcode: 'M_BAD_JSON' },
    })
  expect((await ask('GET', path)).body).toEqual(body)
})

test('the tree of a space is shown whole, to somebody who is in none of its rooms', async () => {
  const make = async (of: Person, wish: object = {}) =>
    (await of.do('POST', 'createRoom', { preset: 'private_chat', ...wish })).room_id as string
  const space = await make(alice, { creation_content: { type: 'm.space' }, name: 'Space' })
  const [first, second] = [await make(alice, { name: 'One' }), await make(alice, { name: 'Two' })]
  const afar = await make(bob)
  for (const [index, child] of [first, second, afar].entries())
    await alice.do('PUT', `rooms/${enc(space)}/state/m.space.child/${enc(child)}`, {
      via: ['here.test', 'there.test'],
      order: String(index),
    })
  const path = `${v1}/rooms/${enc(space)}/hierarchy`
  const names = (rooms: { name?: string }[]) => rooms.map(({ name }) => name)
  const whole = await ask('GET', path)
  expect(names(whole.body.rooms)).toEqual(['Space', 'One', 'Two'])
  expect(whole.body.rooms[0].children_state).toHaveLength(3)
  expect(whole.body.next_batch).toBeUndefined()
  const page = await ask('GET', `${path}?limit=2`)
  expect(names(page.body.rooms)).toEqual(['Space', 'One'])
  const next = await ask('GET', `${path}?limit=2&from=${page.body.next_batch}`)
  expect(names(next.body.rooms)).toEqual(['Two'])
  expect(names((await ask('GET', `${path}?max_depth=0`)).body.rooms)).toEqual(['Space'])
  expect((await ask('GET', `${path}?from=x`)).status).toBe(400)
  expect((await ask('GET', `${v1}/rooms/!none:here.test/hierarchy`)).status).toBe(404)
  // What an administrator's walk says is no token of a user's.
  const ofUser = await alice.fetch(
    `/_matrix/client/v1/rooms/${enc(space)}/hierarchy?from=${page.body.next_batch}`,
  )
  expect(ofUser.status).toBe(400)
})
