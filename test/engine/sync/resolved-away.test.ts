import { beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { noMemberEvent } from '#engine/read/forgotten.ts'
import { type ClientEvent, Story } from '#test/engine/read/story.ts'
import { ids, joined } from './answers.ts'

const db = await testDatabase()
let story: Story
beforeAll(async () => {
  story = await Story.begin(db.pool)
})

let count = 0
/** Someone who was in no room before. */
const someone = (name: string) => `@${name}${++count}:here.example`

const memberships = (events: readonly ClientEvent[] = []) =>
  events
    .filter(({ type }) => type === 'm.room.member')
    .map(({ state_key, content }) => [state_key, content['membership']])

describe('a membership that a state resolution took away', () => {
  for (const stateAfter of [false, true])
    for (const restarts of [false, true])
      test(`is a leave for its user (${stateAfter ? 'state_after' : 'state'}${restarts ? ', on a process that starts later' : ''})`, async () => {
        const [alice, bob] = [someone('alice'), someone('bob')]
        const room = await story.room(alice)
        await room.member(bob, 'join')
        const { next_batch: since } = await story.sync(bob, { stateAfter })
        const said = await room.send(alice, 'the last that he sees')
        await room.resolveMember(bob)
        await room.send(alice, 'not for him')
        const reader = restarts ? await story.restart() : story
        const answer = await reader.sync(bob, { since, stateAfter })
        expect(answer.rooms!.join).toBeUndefined()
        const left = answer.rooms!.leave![room.roomId]!
        expect(ids(left.timeline.events)).toEqual([said.eventId])
        const state = stateAfter ? left.state_after : left.state
        expect(memberships(state!.events)).toEqual([[bob, 'leave']])
        expect(state!.events[0]).toMatchObject({ sender: bob, event_id: expect.any(String) })
        const { next_batch: later } = answer
        expect((await reader.sync(bob, { since: later, stateAfter })).rooms).toBeUndefined()
        if (restarts) reader.positions.close()
      })

  test('wakes the one who waits', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { next_batch: since } = await story.sync(bob)
    const waiting = story.sync(bob, { since, timeoutMs: 60_000 })
    await room.resolveMember(bob)
    expect(Object.keys((await waiting).rooms!.leave!)).toEqual([room.roomId])
  })

  test('ends an invite', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'invite', { by: alice })
    const { next_batch: since } = await story.sync(bob)
    await room.resolveMember(bob)
    const { rooms } = await story.sync(bob, { since })
    expect(rooms!.invite).toBeUndefined()
    const left = rooms!.leave![room.roomId]!
    expect(left.timeline.events).toEqual([])
    expect(memberships(left.state!.events)).toEqual([[bob, 'leave']])
  })

  test('is nothing to one who never heard of it', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(bob)
    await room.member(bob, 'invite', { by: alice })
    await room.resolveMember(bob)
    expect((await story.sync(bob, { since })).rooms).toBeUndefined()
    expect((await story.sync(bob)).rooms).toBeUndefined()
    await room.member(bob, 'join')
    expect(joined(await story.sync(bob, { since }), room).timeline.limited).toBe(true)
  })

  test('leaves what was said until then readable', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const said = await room.send(alice, 'the last that he sees')
    await room.resolveMember(bob)
    const hidden = await room.send(alice, 'not for him')
    const page = await story.messages(bob, room)
    expect(page.ids[0]).toBe(said.eventId)
    expect(page.ids).not.toContain(hidden.eventId)
  })

  test('can be forgotten', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.resolveMember(bob)
    const filter = { room: { include_leave: true } }
    expect(Object.keys((await story.sync(bob, { filter })).rooms!.leave!)).toEqual([room.roomId])
    await story.forget(bob, room.roomId, noMemberEvent)
    expect((await story.sync(bob, { filter })).rooms).toBeUndefined()
  })

  test('is a leave for those who stay, too', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const join = await room.member(bob, 'join')
    for (const stateAfter of [false, true]) {
      const { next_batch: since } = await story.sync(alice, { stateAfter })
      await room.resolveMember(bob)
      const { state, state_after, summary } = joined(
        await story.sync(alice, { since, stateAfter }),
        room,
      )
      expect(memberships((stateAfter ? state_after : state)!.events)).toEqual([[bob, 'leave']])
      expect(summary['m.joined_member_count']).toBe(1)
      await room.resolveMember(bob, { nid: join.nid, membership: 'join' })
    }
  })
})

describe('a membership that a state resolution put back', () => {
  test('to a leave is a leave, and to a join is a join', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const kick = await room.member(bob, 'leave', { by: alice })
    const join = await room.member(bob, 'join')
    const first = await story.sync(bob)
    await room.resolveMember(bob, { nid: kick.nid, membership: 'leave' })
    const out = await story.sync(bob, { since: first.next_batch })
    expect(out.rooms!.join).toBeUndefined()
    expect(ids(out.rooms!.leave![room.roomId]!.state!.events)).toEqual([kick.eventId])
    await room.resolveMember(bob, { nid: join.nid, membership: 'join' })
    const back = await story.sync(bob, { since: out.next_batch })
    expect(back.rooms!.leave).toBeUndefined()
    expect(joined(back, room).timeline.limited).toBe(true)
  })

  test('to a join is a join with lazily loaded members, too', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const join = await room.member(bob, 'join')
    await room.member(bob, 'leave')
    const { next_batch: since } = await story.sync(bob)
    for (const body of ['one', 'two', 'three']) await room.send(alice, body)
    await room.resolveMember(bob, { nid: join.nid, membership: 'join' })
    const filter = { room: { timeline: { limit: 2 }, state: { lazy_load_members: true } } }
    for (const stateAfter of [false, true]) {
      const told = joined(await story.sync(bob, { since, filter, stateAfter }), room)
      const { events } = (stateAfter ? told.state_after : told.state)!
      expect(memberships(events)).toContainEqual([bob, 'join'])
      expect(memberships(events)).toContainEqual([alice, 'join'])
    }
  })

  // A client without `state_after` takes the last member event of the timeline for what counts.
  test('to a leave in the same answer as the join begins behind the join', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const kick = await room.member(bob, 'leave', { by: alice })
    await room.member(bob, 'invite', { by: alice })
    const { next_batch: since } = await story.sync(bob)
    const join = await room.member(bob, 'join')
    const said = await room.send(alice, 'welcome')
    await room.resolveMember(bob, { nid: kick.nid, membership: 'leave' })
    const { timeline, state } = (await story.sync(bob, { since })).rooms!.leave![room.roomId]!
    expect(ids(timeline.events)).toEqual([said.eventId])
    expect(timeline.limited).toBe(true)
    expect(memberships(state!.events)).toContainEqual([bob, 'leave'])
    const older = await story.messages(bob, room, { from: timeline.prev_batch })
    expect(older.ids[0]).toBe(join.eventId)
  })

  test('to a join in the same answer as a leave begins behind the leave', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const join = await room.member(bob, 'join')
    const { next_batch: since } = await story.sync(bob)
    const kick = await room.member(bob, 'leave', { by: alice })
    await room.resolveMember(bob, { nid: join.nid, membership: 'join' })
    const answer = joined(await story.sync(bob, { since }), room)
    expect(answer.timeline).toMatchObject({ events: [], limited: true })
    expect(ids(answer.state!.events)).toEqual([join.eventId])
    const older = await story.messages(bob, room, { from: answer.timeline.prev_batch })
    expect(older.ids[0]).toBe(kick.eventId)
    // With `state_after` the timeline sets nothing, and stays whole.
    const after = joined(await story.sync(bob, { since, stateAfter: true }), room)
    expect(ids(after.timeline.events)).toEqual([kick.eventId])
    expect(ids(after.state_after!.events)).toEqual([join.eventId])
  })
})
