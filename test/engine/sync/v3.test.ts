import { beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { ids, joined, keys } from './answers.ts'

const db = await testDatabase()
let story: Story
beforeAll(async () => {
  story = await Story.begin(db.pool)
})

let count = 0
/** Someone who was in no room before. */
const someone = (name: string) => `@${name}${++count}:here.example`

describe('a first sync', () => {
  test('tells the newest events of a room, and its state before them', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    await room.send(alice, 'one')
    const two = await room.send(alice, 'two')
    const three = await room.send(alice, 'three')
    const answer = await story.sync(alice, { filter: { room: { timeline: { limit: 2 } } } })
    const { timeline, state, summary } = joined(answer, room)
    expect(ids(timeline.events)).toEqual([two.eventId, three.eventId])
    expect(timeline.limited).toBe(true)
    expect(keys(state?.events)).toEqual([
      'm.room.create|',
      `m.room.member|${alice}`,
      'm.room.power_levels|',
    ])
    expect(summary).toEqual({
      'm.heroes': [],
      'm.joined_member_count': 1,
      'm.invited_member_count': 0,
    })
    expect(timeline.events[0]!.unsigned).toEqual({ age: expect.any(Number), membership: 'join' })
    expect(timeline.events[0]).not.toHaveProperty('room_id')
  })

  test('puts back in `state` what the timeline sets, and not in `state_after`', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const old = await room.state(alice, 'm.room.topic', '', { topic: 'old' })
    await room.send(alice, 'between')
    const fresh = await room.state(alice, 'm.room.topic', '', { topic: 'new' })
    const filter = { room: { timeline: { limit: 1 } } }
    const before = joined(await story.sync(alice, { filter }), room)
    expect(ids(before.timeline.events)).toEqual([fresh.eventId])
    expect(before.timeline.events[0]!.unsigned).toMatchObject({
      replaces_state: old.eventId,
      prev_content: { topic: 'old' },
    })
    expect(ids(before.state?.events)).toContain(old.eventId)
    expect(ids(before.state?.events)).not.toContain(fresh.eventId)
    expect(before).not.toHaveProperty('state_after')
    const after = joined(await story.sync(alice, { filter, stateAfter: true }), room)
    expect(ids(after.state_after?.events)).toContain(fresh.eventId)
    expect(ids(after.state_after?.events)).not.toContain(old.eventId)
    expect(after).not.toHaveProperty('state')
  })

  test('tells invites with stripped state, and not the room', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.state(alice, 'm.room.name', '', { name: 'Den' })
    await room.member(bob, 'invite', { by: alice })
    const answer = await story.sync(bob)
    expect(answer.rooms?.join).toBeUndefined()
    const { events } = answer.rooms!.invite![room.roomId]!.invite_state
    expect(keys(events)).toEqual([
      'm.room.create|',
      `m.room.member|${alice}`,
      `m.room.member|${bob}`,
      'm.room.name|',
    ])
    expect(events[0]).toContainAllKeys(['content', 'sender', 'state_key', 'type'])
  })

  test('tells rooms that were left only if the filter asks, and never forgotten ones', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const [one, two] = [await story.room(alice), await story.room(alice)]
    for (const room of [one, two]) {
      await room.member(bob, 'join')
      await room.send(alice, 'while there')
    }
    await one.member(bob, 'leave')
    const left = await two.member(bob, 'leave')
    await one.send(alice, 'after')
    expect((await story.sync(bob)).rooms).toBeUndefined()
    const filter = { room: { include_leave: true } }
    const both = await story.sync(bob, { filter })
    expect(Object.keys(both.rooms!.leave!).sort()).toEqual([one.roomId, two.roomId].sort())
    const { timeline } = both.rooms!.leave![one.roomId]!
    expect(timeline.events.at(-1)).toMatchObject({
      type: 'm.room.member',
      content: { membership: 'leave' },
    })
    await story.forget(bob, two.roomId, left.eventId)
    const after = await story.sync(bob, { filter })
    expect(Object.keys(after.rooms!.leave!)).toEqual([one.roomId])
  })
})

describe('a later sync', () => {
  test('tells what is new, and nothing of rooms in which nothing is', async () => {
    const alice = someone('alice')
    const [one, two] = [await story.room(alice), await story.room(alice)]
    const first = await story.sync(alice)
    const sent = await one.send(alice, 'hello')
    const next = await story.sync(alice, { since: first.next_batch })
    expect(Object.keys(next.rooms!.join!)).toEqual([one.roomId])
    const { timeline, state } = joined(next, one)
    expect(ids(timeline.events)).toEqual([sent.eventId])
    expect(timeline.limited).toBe(false)
    expect(state?.events).toEqual([])
    const last = await story.sync(alice, { since: next.next_batch })
    expect(last.rooms).toBeUndefined()
    expect(joined(first, two).timeline.events).not.toBeEmpty()
  })

  test('leaves a gap and says so when there is more than the limit, with the state across it', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const filter = { room: { timeline: { limit: 2 }, state: { lazy_load_members: true } } }
    const { next_batch: since } = await story.sync(alice, { filter })
    const bobJoins = await room.member(bob, 'join')
    const topic = await room.state(alice, 'm.room.topic', '', { topic: 'old' })
    const skipped = await room.send(alice, 'skipped')
    const two = await room.send(alice, 'two')
    const name = await room.state(alice, 'm.room.name', '', { name: 'Den' })
    const { timeline, state } = joined(await story.sync(alice, { since, filter }), room)
    expect(ids(timeline.events)).toEqual([two.eventId, name.eventId])
    expect(timeline.limited).toBe(true)
    // Members too, although they are loaded lazily: they changed where the client cannot see it.
    expect(ids(state?.events).sort()).toEqual([bobJoins.eventId, topic.eventId].sort())
    const page = await story.messages(alice, room, { from: timeline.prev_batch, limit: 1 })
    expect(page.ids).toEqual([skipped.eventId])
    const after = joined(await story.sync(alice, { since, filter, stateAfter: true }), room)
    const told = ids(after.state_after?.events)
    for (const { eventId } of [bobJoins, topic, name]) expect(told).toContain(eventId)
  })

  test('tells a change of state that no timeline has', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice)
    const reset = await room.state(alice, 'm.room.topic', '', { topic: 'x' }, { softFailed: true })
    const { timeline, state_after: state } = joined(
      await story.sync(alice, { since, stateAfter: true }),
      room,
    )
    expect(timeline.events).toEqual([])
    expect(ids(state?.events)).toEqual([reset.eventId])
    expect(ids(joined(await story.sync(alice, { since }), room).state?.events)).toEqual([
      reset.eventId,
    ])
  })

  test('has an empty `state_after` rather than none', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice, { stateAfter: true })
    await room.send(alice, 'hello')
    const answer = joined(await story.sync(alice, { since, stateAfter: true }), room)
    expect(answer.state_after).toEqual({ events: [] })
    expect(answer).not.toHaveProperty('state')
  })

  test('gives the whole state of a room that was joined since', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.send(alice, 'before')
    const { next_batch: since } = await story.sync(bob)
    const join = await room.member(bob, 'join')
    const { timeline, state } = joined(await story.sync(bob, { since }), room)
    expect(timeline.events.at(-1)!.event_id).toBe(join.eventId)
    expect(timeline.limited).toBe(true)
    // Shared history: what was said before the join is seen.
    expect(timeline.events.map((event) => event.content['body'])).toContain('before')
    expect(state?.events ?? []).toEqual([])
    const short = { room: { timeline: { limit: 1 } } }
    const told = joined(await story.sync(bob, { since, filter: short }), room)
    expect(keys(told.state?.events)).toEqual([
      'm.room.create|',
      `m.room.member|${alice}`,
      'm.room.power_levels|',
    ])
  })

  test('tells of a room that was left up to the leave, once', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { next_batch: since } = await story.sync(bob)
    const said = await room.send(alice, 'bye')
    const kick = await room.member(bob, 'leave', { by: alice })
    await room.send(alice, 'they are gone')
    const answer = await story.sync(bob, { since })
    expect(answer.rooms!.join).toBeUndefined()
    const { timeline } = answer.rooms!.leave![room.roomId]!
    expect(ids(timeline.events)).toEqual([said.eventId, kick.eventId])
    expect((await story.sync(bob, { since: answer.next_batch })).rooms).toBeUndefined()
  })

  test('tells of an invite, of its refusal, and of coming back after a leave', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const first = await story.sync(bob)
    await room.member(bob, 'invite', { by: alice })
    const invited = await story.sync(bob, { since: first.next_batch })
    expect(Object.keys(invited.rooms!.invite!)).toEqual([room.roomId])
    const refusal = await room.member(bob, 'leave')
    const refused = await story.sync(bob, { since: invited.next_batch })
    expect(ids(refused.rooms!.leave![room.roomId]!.timeline.events)).toEqual([refusal.eventId])
    await room.member(bob, 'join')
    const back = await story.sync(bob, { since: refused.next_batch })
    expect(joined(back, room).timeline.limited).toBe(true)
    const left = await room.member(bob, 'leave')
    await story.forget(bob, room.roomId, left.eventId)
    // Another device must learn that the room is left, though it is forgotten.
    const gone = await story.sync(bob, { since: back.next_batch })
    expect(Object.keys(gone.rooms!.leave!)).toEqual([room.roomId])
    expect((await story.sync(bob, { since: gone.next_batch })).rooms).toBeUndefined()
    await room.member(bob, 'invite', { by: alice })
    const again = await story.sync(bob, { since: gone.next_batch })
    expect(Object.keys(again.rooms!.invite!)).toEqual([room.roomId])
  })

  test('repeats itself for the same token', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice)
    await room.send(alice, 'one')
    const once = await story.sync(alice, { since })
    expect(await story.sync(alice, { since })).toEqual(once)
    await room.send(alice, 'two')
    const more = joined(await story.sync(alice, { since }), room)
    expect(more.timeline.events.map((event) => event.content['body'])).toEqual(['one', 'two'])
  })

  test('tells all the state if asked, with the timeline still since the token', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice)
    const sent = await room.send(alice, 'hello')
    const answer = joined(await story.sync(alice, { since, fullState: true }), room)
    expect(ids(answer.timeline.events)).toEqual([sent.eventId])
    expect(answer.state?.events).toHaveLength(3)
  })
})

describe('a sync that waits', () => {
  test('is answered when the server stops', async () => {
    const alice = someone('alice')
    await story.room(alice)
    const other = await story.restart()
    const { next_batch: since } = await other.sync(alice)
    const waiting = other.sync(alice, { since, timeoutMs: 60_000 })
    await Bun.sleep(20)
    other.positions.close()
    expect((await waiting).rooms).toBeUndefined()
  })

  test('is not woken for good by what its reader may not see', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await story.accountData(alice, '', 'm.ignored_user_list', { ignored_users: { [bob]: {} } })
    const { next_batch: since } = await story.sync(alice)
    const waiting = story.sync(alice, { since, timeoutMs: 60_000 })
    await room.send(bob, 'ignored')
    await Bun.sleep(20)
    const sent = await room.send(alice, 'hello')
    expect(ids(joined(await waiting, room).timeline.events)).toEqual([sent.eventId])
  })
})

describe('account data', () => {
  test('comes when it changed, for all and for a room in which nothing else did', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    await story.accountData(alice, '', 'm.direct', { a: 1 })
    const first = await story.sync(alice)
    expect(first.account_data!.events).toContainEqual({ type: 'm.direct', content: { a: 1 } })
    // Those that everyone has until they change one.
    expect(first.account_data!.events.map(({ type }) => type)).toContain('m.push_rules')
    await story.accountData(alice, room.roomId, 'm.tag', { tags: {} })
    const next = await story.sync(alice, { since: first.next_batch })
    expect(next.account_data).toBeUndefined()
    expect(joined(next, room).account_data.events).toEqual([
      { type: 'm.tag', content: { tags: {} } },
    ])
    const last = await story.sync(alice, { since: next.next_batch })
    expect(last.rooms).toBeUndefined()
  })
})
