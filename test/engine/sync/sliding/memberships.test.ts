import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { SlidingClients, bodies, stateOf, type Room } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const clients = new SlidingClients(story)
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`
const all = { all: {} }
const members = (room: Room | undefined) =>
  (room?.required_state ?? []).map(({ state_key: key, content }) => [key, content['membership']])

describe('a room that one is not in', () => {
  test('is told as an invite, once, with what one may see of it, and then as a room', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.state(alice, 'm.room.name', '', { name: 'Garden' })
    await room.send(alice, 'not for him yet')
    const begun = await clients.ask(bob, { lists: all })
    expect(begun).toMatchObject({ rooms: {}, lists: { all: { count: 0 } } })
    await room.member(bob, 'invite', { by: alice })
    const asked = await clients.ask(bob, { pos: begun.pos, lists: all })
    expect(asked.lists['all']!.count).toBe(1)
    const told = asked.rooms[room.roomId]!
    expect(told).toMatchObject({ initial: true, notification_count: 0, highlight_count: 0 })
    expect(told.bump_stamp).toBeGreaterThan(0)
    expect(told.invite_state!.map(({ type, state_key: key }) => `${type}|${key}`)).toEqual(
      expect.arrayContaining(['m.room.name|', `m.room.member|${bob}`]),
    )
    for (const key of ['timeline', 'required_state', 'joined_count', 'name', 'prev_batch'])
      expect(told).not.toHaveProperty(key)
    await room.send(alice, 'nor this')
    const quiet = await clients.ask(bob, { pos: asked.pos, lists: all })
    expect(quiet.rooms).toEqual({})
    await room.member(bob, 'join')
    const joined = await clients.ask(bob, { pos: quiet.pos, lists: all })
    expect(joined.rooms[room.roomId]).toMatchObject({
      initial: true,
      name: 'Garden',
      joined_count: 2,
    })
    expect(joined.rooms[room.roomId]!.invite_state).toBeUndefined()
  })

  test('is told as a knock', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'knock')
    const answer = await clients.ask(bob, { lists: all })
    expect(answer.rooms[room.roomId]!.invite_state!.at(-1)).toMatchObject({
      state_key: bob,
      content: { membership: 'knock' },
    })
  })

  test('is not told as an invite of whom one ignores', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'invite', { by: alice })
    await story.accountData(bob, '', 'm.ignored_user_list', { ignored_users: { [alice]: {} } })
    const answer = await clients.ask(bob, { lists: all, subscriptions: { [room.roomId]: {} } })
    expect(answer).toMatchObject({ rooms: {}, lists: { all: { count: 0 } } })
  })
})

describe('a room that one leaves', () => {
  test('is told to be left, once, and is in no list any more', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const begun = await clients.ask(bob, { lists: all })
    await room.send(alice, 'bye')
    await room.member(bob, 'leave')
    await room.send(alice, 'not for him')
    const left = await clients.ask(bob, { pos: begun.pos, lists: all })
    const told = left.rooms[room.roomId]!
    expect(bodies(told)).toEqual(['bye'])
    expect(members(told)).toEqual([[bob, 'leave']])
    expect(told.initial).toBeUndefined()
    expect(told).not.toHaveProperty('joined_count')
    expect(left.lists['all']!.count).toBe(0)
    expect((await clients.ask(bob, { pos: left.pos, lists: all })).rooms).toEqual({})
    expect((await clients.ask(bob, { lists: all })).rooms).toEqual({})
    // Who asks for it by name sees it as it was.
    await room.state(alice, 'm.room.name', '', { name: 'New' })
    const named = await clients.ask(bob, {
      subscriptions: { [room.roomId]: { required: [['m.room.name', '']], limit: 1 } },
    })
    expect(named.rooms[room.roomId]!.name).toBeUndefined()
    expect(named.rooms[room.roomId]!.timeline!.at(-1)).toMatchObject({ state_key: bob })
  })

  test('because somebody else says so stays in the list, up to there', async () => {
    for (const membership of ['leave', 'ban'] as const) {
      const [alice, bob] = [person('alice'), person('bob')]
      const room = await story.room(alice)
      await room.member(bob, 'join')
      await room.send(alice, 'seen')
      const begun = await clients.ask(bob, { lists: all })
      await room.member(bob, membership, { by: alice })
      await room.send(alice, 'not for him')
      const out = await clients.ask(bob, { pos: begun.pos, lists: all })
      expect(members(out.rooms[room.roomId])).toEqual([[bob, membership]])
      expect(out.lists['all']!.count).toBe(1)
      expect((await clients.ask(bob, { pos: out.pos, lists: all })).rooms).toEqual({})
      const anew = await clients.ask(bob, { lists: { all: { limit: 2 } } })
      expect(anew.rooms[room.roomId]!.initial).toBe(true)
      expect(bodies(anew.rooms[room.roomId])).toEqual(['seen'])
      const { position, eventId } = await room.member(bob, membership, { by: alice })
      expect(position).toBeGreaterThan(0)
      await story.forget(bob, room.roomId, eventId)
      const forgotten = await clients.ask(bob, { lists: all })
      expect(forgotten.rooms).toEqual({})
    }
  })

  test('because a state resolution took them out is told to be left', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const begun = await clients.ask(bob, { lists: all })
    await room.resolveMember(bob)
    const out = await clients.ask(bob, { pos: begun.pos, lists: all })
    expect(members(out.rooms[room.roomId])).toEqual([[bob, 'leave']])
    const later = await clients.ask(bob, { pos: out.pos, lists: all })
    expect(later).toMatchObject({ rooms: {}, lists: { all: { count: 0 } } })
  })

  test('before one was in it ends the invite, wherever that stood in a list', async () => {
    for (const by of ['bob', 'alice']) {
      const [alice, bob] = [person('alice'), person('bob')]
      const room = await story.room(alice)
      await room.member(bob, 'invite', { by: alice })
      const lists = { all: { filters: { notRoomTypes: new Set(['m.space']) } } }
      const begun = await clients.ask(bob, { lists })
      expect(Object.keys(begun.rooms)).toEqual([room.roomId])
      await room.member(bob, 'leave', { by: by === 'bob' ? bob : alice })
      const out = await clients.ask(bob, { pos: begun.pos, lists })
      expect(members(out.rooms[room.roomId])).toEqual([[bob, 'leave']])
      expect(out.rooms[room.roomId]!.timeline).toBeUndefined()
      expect(out.lists['all']!.count).toBe(0)
      const later = await clients.ask(bob, { pos: out.pos, lists })
      expect(later.rooms).toEqual({})
      expect((await clients.ask(bob, { lists })).rooms).toEqual({})
    }
  })

  test('and comes back to is told anew', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const lists = { all: { required: [['m.room.create', '']] as [string, string][] } }
    const begun = await clients.ask(bob, { lists })
    await room.member(bob, 'leave')
    const left = await clients.ask(bob, { pos: begun.pos, lists })
    await room.member(bob, 'join')
    const back = await clients.ask(bob, { pos: left.pos, lists })
    expect(back.rooms[room.roomId]!.initial).toBe(true)
    expect(stateOf(back.rooms[room.roomId])).toEqual(['m.room.create|'])
  })
})
