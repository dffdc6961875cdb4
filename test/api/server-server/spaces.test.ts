import { beforeAll, describe, expect, test } from 'bun:test'
import { until } from '#test/until.ts'
import { type Person, twoHomes } from './two-homes.ts'

const [here, there] = await twoHomes()
const [alice, bob] = [await here.person('alice'), await there.person('bob')]
const enc = encodeURIComponent

const make = async (who: Person, name: string, request: object = {}) => {
  const preset = { preset: 'public_chat', name, ...request }
  return (await who.do('POST', 'createRoom', preset)).room_id as string
}
const space = (who: Person, name: string, request: object = {}) =>
  make(who, name, { creation_content: { type: 'm.space' }, ...request })
const adopt = (who: Person, parent: string, child: string, content: object = {}) =>
  who.do('PUT', `rooms/${enc(parent)}/state/m.space.child/${enc(child)}`, {
    via: [who.userId.split(':')[1]],
    ...content,
  })
const ask = async (who: Person, path: string) => {
  const response = await who.fetch(`/_matrix/client/v1/${path}`)
  return { status: response.status, body: (await response.json()) as any }
}
const walk = async (who: Person, roomId: string, query = '') => {
  const { status, body } = await ask(who, `rooms/${enc(roomId)}/hierarchy?${query}`)
  if (status !== 200) throw new Error(`${status} ${JSON.stringify(body)}`)
  return body
}
const namesOf = (body: any): string[] => body.rooms.map((room: any) => room.name)

describe('the tree of a space', () => {
  let root: string
  beforeAll(async () => {
    root = await space(alice, 'root')
    const inner = await space(alice, 'inner')
    const [one, two, three] = [
      await make(alice, 'one'),
      await make(alice, 'two'),
      await make(alice, 'three'),
    ]
    const secret = await make(alice, 'secret', { preset: 'private_chat' })
    await adopt(alice, root, one, { order: 'b', suggested: true })
    await adopt(alice, root, inner, { order: 'a' })
    await adopt(alice, root, secret, { order: 'c' })
    await adopt(alice, inner, two)
    await adopt(alice, inner, three)
    // In a circle, and taken back.
    await adopt(alice, inner, root)
    await adopt(alice, inner, secret, { via: [] })
  })

  test('is shown depth first, in its order, each room once', async () => {
    expect(namesOf(await walk(alice, root))).toEqual([
      'root',
      'inner',
      'two',
      'three',
      'one',
      'secret',
    ])
    const { rooms } = await walk(alice, root)
    expect(rooms[0]).toMatchObject({ room_type: 'm.space', room_version: '12' })
    expect(rooms[0].children_state.map((event: any) => event.content.order)).toEqual([
      'a',
      'b',
      'c',
    ])
  })

  test('ends at a depth, and shows what is suggested', async () => {
    expect(namesOf(await walk(alice, root, 'max_depth=0'))).toEqual(['root'])
    expect(namesOf(await walk(alice, root, 'max_depth=1'))).toEqual([
      'root',
      'inner',
      'one',
      'secret',
    ])
    expect(namesOf(await walk(alice, root, 'suggested_only=true'))).toEqual(['root', 'one'])
  })

  test('comes in pages, whose tokens go with what was asked', async () => {
    const names: string[] = []
    let from = ''
    for (let pages = 0; pages < 10; pages++) {
      const body = await walk(alice, root, `limit=2${from}`)
      names.push(...namesOf(body))
      if (body.next_batch === undefined) break
      from = `&from=${body.next_batch}`
    }
    expect(names).toEqual(['root', 'inner', 'two', 'three', 'one', 'secret'])
    for (const query of [`max_depth=1${from}`, 'from=nonsense', 'limit=0', 'max_depth=-1'])
      expect((await ask(alice, `rooms/${enc(root)}/hierarchy?${query}`)).status).toBe(400)
  })

  test('is walked by users of other servers, who see what they could join', async () => {
    const mine = await space(bob, 'mine')
    await adopt(bob, mine, root, { via: ['here.test'] })
    expect(namesOf(await walk(bob, mine))).toEqual(['mine', 'root', 'inner', 'two', 'three', 'one'])
  })

  test('is nothing to who may not see it', async () => {
    const closed = await space(alice, 'closed', { preset: 'private_chat' })
    const carol = await here.person('carol')
    for (const who of [carol, bob]) {
      const { status, body } = await ask(who, `rooms/${enc(closed)}/hierarchy`)
      expect([status, body.errcode]).toEqual([403, 'M_FORBIDDEN'])
    }
  })
})

describe('the summary of a room', () => {
  test('is told at home and afar, by ID and by alias, with what the user is in it', async () => {
    const roomId = await make(alice, 'Lounge', { room_alias_name: 'lounge' })
    const own = await ask(alice, `room_summary/${enc(roomId)}`)
    expect(own.body).toMatchObject({ name: 'Lounge', membership: 'join', num_joined_members: 1 })
    const afar = await ask(bob, `room_summary/${enc('#lounge:here.test')}`)
    expect(afar.status).toBe(200)
    expect(afar.body).toMatchObject({ room_id: roomId, name: 'Lounge', join_rule: 'public' })
    expect(afar.body.membership).toBeUndefined()
    const url = `http://127.0.0.1:${here.clientPort}/_matrix/client/v1/room_summary/${enc(roomId)}`
    expect((await fetch(url)).status).toBe(200)
  })

  test('of a restricted room is told to members of the other room', async () => {
    const club = await make(alice, 'club')
    const allow = [{ type: 'm.room_membership', room_id: club }]
    const roomId = await make(alice, 'annex', {
      preset: 'private_chat',
      initial_state: [
        { type: 'm.room.join_rules', state_key: '', content: { join_rule: 'restricted', allow } },
      ],
    })
    const path = `room_summary/${enc(roomId)}?via=here.test`
    const dave = await here.person('dave')
    expect((await ask(dave, path)).status).toBe(404)
    await dave.do('POST', `join/${enc(club)}`, {})
    expect((await ask(dave, path)).body.allowed_room_ids).toEqual([club])
    await bob.do('POST', `join/${enc(club)}?via=here.test`, {})
    await until(async () => (await alice.membershipOf(club, bob.userId)) === 'join')
    expect((await ask(bob, path)).status).toBe(200)
    const url = `http://127.0.0.1:${here.clientPort}/_matrix/client/v1/room_summary/${enc(roomId)}`
    expect((await fetch(url)).status).toBe(404)
  })

  test('is nothing for a room that there is not', async () => {
    const { status, body } = await ask(bob, `room_summary/${enc('!none:here.test')}`)
    expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  })
})
