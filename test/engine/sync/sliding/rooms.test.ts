import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { SlidingClients, bodies, stateOf } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const clients = new SlidingClients(story)
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`
const all = { all: {} }

describe('rooms', () => {
  test('are told whole at first, then only where something happened', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.state(alice, 'm.room.name', '', { name: 'Garden' })
    await room.state(alice, 'm.room.avatar', '', { url: 'mxc://here.example/x' })
    await room.member(bob, 'join')
    await room.send(bob, 'hello')
    const other = await story.room(alice)
    const first = await clients.ask(alice, {
      lists: { all: { required: [['m.room.create', '']], limit: 2 } },
    })
    expect(first.lists['all']).toMatchObject({ count: 2 })
    expect(first.rooms[room.roomId]).toMatchObject({
      initial: true,
      name: 'Garden',
      avatar: 'mxc://here.example/x',
      joined_count: 2,
      invited_count: 0,
      notification_count: 0,
      highlight_count: 0,
      limited: true,
      num_live: 0,
    })
    expect(stateOf(first.rooms[room.roomId])).toEqual(['m.room.create|'])
    expect(first.rooms[room.roomId]!.heroes).toBeUndefined()
    expect(first.rooms[other.roomId]).toMatchObject({ initial: true, limited: true })
    await room.send(bob, 'again')
    const next = await clients.ask(alice, {
      pos: first.pos,
      lists: { all: { required: [['m.room.create', '']], limit: 2 } },
    })
    expect(Object.keys(next.rooms)).toEqual([room.roomId])
    expect(next.rooms[room.roomId]).toMatchObject({ limited: false, num_live: 1 })
    expect(next.rooms[room.roomId]!.initial).toBeUndefined()
    expect(bodies(next.rooms[room.roomId])).toEqual(['again'])
    expect(stateOf(next.rooms[room.roomId])).toEqual([])
  })

  test('stand by their activity, and only those in the ranges are told', async () => {
    const alice = person('alice')
    const rooms = []
    for (let each = 0; each < 4; each++) rooms.push(await story.room(alice))
    const [a, b, c, d] = rooms.map(({ roomId }) => roomId)
    const ask = (pos?: string, ranges: [number, number][] = [[0, 1]]) =>
      clients.ask(alice, { pos, lists: { all: { ranges, limit: 1 } } })
    const first = await ask()
    expect(first.lists['all']).toEqual({
      count: 4,
      ops: [{ op: 'SYNC', range: [0, 1], room_ids: [d, c] }],
    } as never)
    expect(Object.keys(first.rooms).sort()).toEqual([c!, d!].sort())
    await rooms[0]!.send(alice, 'up')
    const second = await ask(first.pos)
    expect(second.lists['all']!.ops[0]!.room_ids).toEqual([a!, d!])
    expect(Object.keys(second.rooms)).toEqual([a!])
    expect(second.rooms[a!]!.initial).toBe(true)
    expect(second.rooms[a!]!.num_live).toBe(1)
    expect(second.rooms[a!]!.bump_stamp).toBeGreaterThan(first.rooms[d!]!.bump_stamp!)
    // What fell out of the window and changed is told when it comes back, from where it was left.
    await rooms[2]!.send(alice, 'out of sight')
    await rooms[1]!.send(alice, 'b')
    await rooms[0]!.send(alice, 'a')
    const third = await ask(second.pos)
    expect(third.lists['all']!.ops[0]!.room_ids).toEqual([a!, b!])
    const fourth = await ask(third.pos, [[0, 2]])
    expect(Object.keys(fourth.rooms)).toEqual([c!])
    expect(fourth.rooms[c!]!.initial).toBeUndefined()
    expect(bodies(fourth.rooms[c!])).toEqual(['out of sight'])
    expect(fourth.rooms[c!]!.num_live).toBe(0)
    const several = await ask(fourth.pos, [
      [0, 0],
      [3, 3],
      [9, 20],
    ])
    expect(several.lists['all']!.ops.map((op) => op.room_ids)).toEqual([[a!], [d!], []])
  })

  test('are told for subscriptions whatever lists there are, with what either wants', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    await room.state(alice, 'm.room.topic', '', { topic: 'Roses' })
    const answer = await clients.ask(alice, {
      lists: { all: { required: [['m.room.create', '']], limit: 1 } },
      subscriptions: {
        [room.roomId]: { required: [['m.room.topic', '']], limit: 3 },
        '!nowhere:here.example': {},
      },
    })
    expect(Object.keys(answer.rooms)).toEqual([room.roomId])
    expect(stateOf(answer.rooms[room.roomId])).toEqual(['m.room.create|', 'm.room.topic|'])
    expect(answer.rooms[room.roomId]!.timeline).toHaveLength(3)
  })

  test('that others are in are told to nobody else, subscribed or not', async () => {
    const [alice, mallory] = [person('alice'), person('mallory')]
    const room = await story.room(alice)
    const subscriptions = { [room.roomId]: {} }
    expect((await clients.ask(mallory, { lists: all, subscriptions })).rooms).toEqual({})
  })

  test('come with more of their timeline and state when more is asked for, at once', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    for (const text of ['1', '2', '3']) await room.send(alice, text)
    const first = await clients.ask(alice, { lists: { all: { limit: 1 } } })
    expect(bodies(first.rooms[room.roomId])).toEqual(['3'])
    const wish = { required: [['m.room.power_levels', '']] as [string, string][], limit: 3 }
    const more = await clients.ask(alice, {
      pos: first.pos,
      lists: { all: { limit: 1 } },
      subscriptions: { [room.roomId]: wish },
      timeoutMs: 60_000,
    })
    expect(more.rooms[room.roomId]).toMatchObject({
      unstable_expanded_timeline: true,
      limited: true,
      num_live: 0,
    })
    expect(more.rooms[room.roomId]!.initial).toBeUndefined()
    expect(bodies(more.rooms[room.roomId])).toEqual(['1', '2', '3'])
    expect(stateOf(more.rooms[room.roomId])).toEqual(['m.room.power_levels|'])
    const same = await clients.ask(alice, {
      pos: more.pos,
      lists: { all: { limit: 1 } },
      subscriptions: { [room.roomId]: wish },
    })
    expect(same.rooms).toEqual({})
  })

  test('tell the state that is wanted: by key, by type, all of it, and one’s own', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.state(alice, 'x.thing', 'one', {})
    await room.state(alice, 'x.thing', 'two', {})
    const read = async (...required: [string, string][]) =>
      stateOf((await clients.ask(alice, { lists: { all: { required } } })).rooms[room.roomId])
    const members = [`m.room.member|${alice}`, `m.room.member|${bob}`]
    const others = ['m.room.create|', 'm.room.power_levels|', 'x.thing|one', 'x.thing|two']
    expect(await read(['x.thing', 'two'])).toEqual(['x.thing|two'])
    expect(await read(['x.thing', '*'])).toEqual(['x.thing|one', 'x.thing|two'])
    expect(await read(['m.room.member', '$ME'])).toEqual([members[0]!])
    expect(await read(['m.room.member', '*'])).toEqual(members)
    expect(await read(['*', 'one'])).toEqual(['x.thing|one'])
    expect(await read(['*', '*'])).toEqual([...members, ...others].sort())
    expect(await read(['x.thing', 'a\0b'], ['x.none', ''])).toEqual([])
  })

  test('load members lazily: who speaks, who is spoken of, and each of them once', async () => {
    const [alice, bob, carol] = [person('alice'), person('bob'), person('carol')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.member(carol, 'join')
    await room.send(bob, 'hi')
    const required: [string, string][] = [
      ['*', '*'],
      ['m.room.member', '$LAZY'],
    ]
    const ask = (pos?: string) =>
      clients.ask(alice, { pos, lists: { all: { required, limit: 1 } } })
    const members = (answer: Awaited<ReturnType<typeof ask>>) =>
      stateOf(answer.rooms[room.roomId]).filter((key) => key.startsWith('m.room.member'))
    const first = await ask()
    expect(members(first)).toEqual([`m.room.member|${bob}`])
    await room.send(bob, 'still me')
    const second = await ask(first.pos)
    expect(members(second)).toEqual([])
    await room.send(carol, 'me too')
    const third = await ask(second.pos)
    expect(members(third)).toEqual([`m.room.member|${carol}`])
    // The answer was lost: they come again.
    expect(members(await ask(second.pos))).toEqual([`m.room.member|${carol}`])
    await room.member(bob, 'leave')
    expect(members(await ask(third.pos))).toEqual([`m.room.member|${bob}`])
  })

  test('without a name tell who is in them', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'invite', { by: alice, content: { displayname: 'Bob' } })
    const first = await clients.ask(alice, { lists: all })
    expect(first.rooms[room.roomId]).toMatchObject({
      heroes: [{ user_id: bob, displayname: 'Bob' }],
      joined_count: 1,
      invited_count: 1,
    })
    await room.state(alice, 'm.room.name', '', { name: 'Two' })
    const second = await clients.ask(alice, { pos: first.pos, lists: all })
    expect(second.rooms[room.roomId]).toMatchObject({ name: 'Two' })
    expect(second.rooms[room.roomId]!.heroes).toBeUndefined()
    await room.state(alice, 'm.room.name', '', {})
    const third = await clients.ask(alice, { pos: second.pos, lists: all })
    expect(third.rooms[room.roomId]).toMatchObject({ name: null, heroes: [{ user_id: bob }] })
  })

  test('without a timeline are told with the rest', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    const first = await clients.ask(alice, { lists: { all: { limit: 0 } } })
    expect(first.rooms[room.roomId]!.timeline).toBeUndefined()
    expect(first.rooms[room.roomId]!.prev_batch).toBeString()
    expect(first.rooms[room.roomId]!.bump_stamp).toBeGreaterThan(0)
  })
})
