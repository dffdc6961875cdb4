import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { Sliding } from '#engine/sync/sliding/sliding.ts'
import { type Answer, SlidingClients, bodies } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
const clients = new SlidingClients(story)
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`
const all = { all: { limit: 5 } }
const unknown = { status: 400, errcode: 'M_UNKNOWN_POS' }

const ask = (userId: string, pos?: string, more: object = {}) =>
  clients.ask(userId, { pos, lists: all, ...more })

const refusal = (asked: Promise<Answer>) =>
  asked.then(
    () => 'answered',
    (error: unknown) => error,
  )

describe('a connection', () => {
  test('tells again what a lost answer had', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    const { pos } = await ask(alice)
    await room.send(alice, 'one')
    const lost = await ask(alice, pos)
    expect(bodies(lost.rooms[room.roomId])).toEqual(['one'])
    await room.send(alice, 'two')
    const again = await ask(alice, pos)
    expect(bodies(again.rooms[room.roomId])).toEqual(['one', 'two'])
    expect(again.pos).not.toBe(lost.pos)
    expect((await ask(alice, again.pos)).rooms).toEqual({})
  })

  test('goes on from whichever answer arrived, and knows no token from before it', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    const { pos } = await ask(alice)
    await room.send(alice, 'one')
    const first = await ask(alice, pos)
    await room.send(alice, 'two')
    const second = await ask(alice, pos)
    const next = await ask(alice, first.pos)
    expect(bodies(next.rooms[room.roomId])).toEqual(['two'])
    expect(await refusal(ask(alice, pos))).toMatchObject(unknown)
    expect(await refusal(ask(alice, second.pos))).toMatchObject(unknown)
    expect((await ask(alice, next.pos)).rooms).toEqual({})
  })

  test('never answers with what it answered before', async () => {
    const alice = person('alice')
    await story.room(alice)
    const { pos } = await ask(alice)
    const seen = new Set([pos])
    let from = pos
    for (let round = 0; round < 5; round++) {
      const twice = [await ask(alice, from), await ask(alice, from)].map((answer) => answer.pos)
      for (const each of twice) {
        expect(seen.has(each)).toBe(false)
        seen.add(each)
      }
      from = twice[1]!
    }
  })

  test('is that of one user, one device and one name', async () => {
    const [alice, mallory] = [person('alice'), person('mallory')]
    await story.room(alice)
    const { pos } = await ask(alice)
    expect(await refusal(ask(mallory, pos))).toMatchObject(unknown)
    expect(await refusal(ask(alice, pos, { deviceId: 'OTHER' }))).toMatchObject(unknown)
    expect(await refusal(ask(alice, pos, { connId: 'other' }))).toMatchObject(unknown)
    expect(await refusal(ask(alice, 'nonsense'))).toMatchObject(unknown)
    const other = await ask(alice, undefined, { connId: 'other' })
    expect(Object.keys(other.rooms)).toHaveLength(1)
    expect((await ask(alice, pos)).rooms).toEqual({})
    expect((await ask(alice, other.pos, { connId: 'other' })).rooms).toEqual({})
  })

  test('is not known after a restart: its client begins anew', async () => {
    const alice = person('alice')
    await story.room(alice)
    const { pos } = await ask(alice)
    clients.sliding = new Sliding()
    expect(await refusal(ask(alice, pos))).toMatchObject(unknown)
    expect(Object.keys((await ask(alice)).rooms)).toHaveLength(1)
  })

  test('is forgotten, the one that was not used for longest first, where there are too many', async () => {
    const few = new SlidingClients(story, { rooms: 12 })
    const users = [person('one'), person('two'), person('three')]
    for (const user of users) for (let each = 0; each < 2; each++) await story.room(user)
    const tokens: string[] = []
    for (const user of users) {
      const first = await few.ask(user, { lists: all })
      tokens.push((await few.ask(user, { pos: first.pos, lists: all })).pos)
    }
    const known = []
    for (const [index, user] of users.entries())
      known.push(await refusal(few.ask(user, { pos: tokens[index], lists: all })))
    expect(known[0]).toMatchObject(unknown)
    expect(known[2]).toBe('answered')
  })

  test('of one device are eight at most', async () => {
    const alice = person('alice')
    await story.room(alice)
    const tokens: string[] = []
    for (let each = 0; each < 9; each++)
      tokens.push((await ask(alice, undefined, { connId: `c${each}` })).pos)
    expect(await refusal(ask(alice, tokens[0], { connId: 'c0' }))).toMatchObject(unknown)
    for (let each = 1; each < 9; each++)
      expect(await refusal(ask(alice, tokens[each], { connId: `c${each}` }))).toBe('answered')
  })

  test('that was begun anew is not replaced by what its old self answers late', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    const { pos } = await ask(alice)
    const hanging = ask(alice, pos, { timeoutMs: 60_000 })
    const anew = await ask(alice)
    await room.send(alice, 'one')
    expect(await refusal(hanging)).toMatchObject(unknown)
    expect(bodies((await ask(alice, anew.pos)).rooms[room.roomId])).toEqual(['one'])
    expect(await refusal(ask(alice, pos))).toMatchObject(unknown)
  })

  test('whose client went on meanwhile does not spoil what it has', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    const { pos } = await ask(alice)
    const hanging = ask(alice, pos, { timeoutMs: 60_000 })
    // Its client gave up on it, and asked for something else.
    const other = await ask(alice, pos, { lists: { more: { limit: 9 } } })
    const next = await ask(alice, other.pos)
    await room.send(alice, 'one')
    expect(await refusal(hanging)).toMatchObject(unknown)
    expect(bodies((await ask(alice, next.pos)).rooms[room.roomId])).toEqual(['one'])
  })
})

describe('whoever waits', () => {
  test('is answered at once at first, and where something is new', async () => {
    const alice = person('alice')
    const room = await story.room(alice)
    const first = await ask(alice, undefined, { timeoutMs: 60_000 })
    await room.send(alice, 'one')
    const next = await ask(alice, first.pos, { timeoutMs: 60_000 })
    expect(bodies(next.rooms[room.roomId])).toEqual(['one'])
  })

  test('wakes for an event, and gets it', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { pos } = await ask(bob)
    const waiting = ask(bob, pos, { timeoutMs: 60_000 })
    await room.send(alice, 'wake up')
    const woken = await waiting
    expect(bodies(woken.rooms[room.roomId])).toEqual(['wake up'])
    expect(woken.rooms[room.roomId]!.num_live).toBe(1)
  })

  test('wakes for an invite', async () => {
    const [alice, bob] = [person('alice'), person('bob')]
    const room = await story.room(alice)
    const { pos } = await ask(bob)
    const waiting = ask(bob, pos, { timeoutMs: 60_000 })
    await room.member(bob, 'invite', { by: alice })
    expect((await waiting).rooms[room.roomId]!.invite_state).toBeDefined()
  })

  test('does not wake for rooms out of sight, and misses nothing there', async () => {
    const alice = person('alice')
    const [low, high] = [await story.room(alice), await story.room(alice)]
    const lists = { space: { filters: { roomTypes: new Set(['m.space']) } } }
    const both = { [high.roomId]: {}, [low.roomId]: {} }
    const first = await clients.ask(alice, { lists, subscriptions: both })
    const only = { [high.roomId]: {} }
    const waiting = clients.ask(alice, {
      pos: first.pos,
      lists,
      subscriptions: only,
      timeoutMs: 60_000,
    })
    await low.send(alice, 'out of sight')
    await high.send(alice, 'in sight')
    const woken = await waiting
    expect(Object.keys(woken.rooms)).toEqual([high.roomId])
    const back = await clients.ask(alice, { pos: woken.pos, lists, subscriptions: both })
    expect(bodies(back.rooms[low.roomId])).toEqual(['out of sight'])
  })

  test('for nothing is answered with a new token when the time is over', async () => {
    const alice = person('alice')
    await story.room(alice)
    const { pos } = await ask(alice)
    const answer = await ask(alice, pos, { timeoutMs: 50 })
    expect(answer.rooms).toEqual({})
    expect(answer.pos).not.toBe(pos)
  })

  test('and hangs up is let go', async () => {
    const alice = person('alice')
    await story.room(alice)
    const { pos } = await ask(alice)
    const gone = new AbortController()
    const waiting = ask(alice, pos, { timeoutMs: 600_000, signal: gone.signal })
    gone.abort()
    expect((await waiting).rooms).toEqual({})
  })

  test('is told of a list that is new, though no room is', async () => {
    const alice = person('alice')
    await story.room(alice)
    const { pos } = await ask(alice)
    const more = { all: { limit: 5 }, dms: { limit: 5, filters: { isDm: true } } }
    const answer = await ask(alice, pos, { lists: more, timeoutMs: 600_000 })
    expect(answer.lists['dms']!.count).toBe(0)
  })
})
