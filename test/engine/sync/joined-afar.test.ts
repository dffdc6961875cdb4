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

describe('a room that was joined through another server', () => {
  test('comes with its whole state, after the invite and the history of an earlier stay', async () => {
    const [alice, bob] = ['@alice:there.example', someone('bob')]
    // What is known of it here at first: an invite.
    const room = await story.room(alice, { roomId: `!${crypto.randomUUID()}:there.example` })
    await room.member(bob, 'invite', { by: alice })
    const invited = await story.sync(bob)
    expect(Object.keys(invited.rooms!.invite!)).toEqual([room.roomId])
    const join = await room.joinAfar(bob, [
      ['m.room.create', '', alice, {}],
      ['m.room.name', '', alice, { name: 'Afar' }],
      ['m.room.member', alice, alice, { membership: 'join' }],
    ])
    const answer = await story.sync(bob, { since: invited.next_batch })
    expect(answer.rooms!.invite).toBeUndefined()
    const { timeline, state, summary } = joined(answer, room)
    // What lies before the gap is not told as if it were next to the join.
    expect(ids(timeline.events)).toEqual([join.eventId])
    expect(timeline.limited).toBe(true)
    expect(keys(state?.events)).toEqual([
      'm.room.create|',
      `m.room.member|${alice}`,
      'm.room.name|',
    ])
    expect(summary['m.joined_member_count']).toBe(2)
    const first = await story.sync(bob)
    expect(ids(joined(first, room).timeline.events)).toEqual([join.eventId])
    const said = await room.send(alice, 'hello')
    const next = joined(await story.sync(bob, { since: answer.next_batch }), room)
    expect(ids(next.timeline.events)).toEqual([said.eventId])
    expect(next.timeline.limited).toBe(false)
    expect(next.state?.events).toEqual([])
  })

  test('is a join for one who was away when it happened, on a process that starts later', async () => {
    const [alice, bob] = ['@alice:there.example', someone('bob')]
    const { next_batch: since } = await story.sync(bob)
    const room = await story.room(alice, { roomId: `!${crypto.randomUUID()}:there.example` })
    await room.joinAfar(bob, [['m.room.create', '', alice, {}]])
    const other = await story.restart()
    expect(Object.keys((await other.sync(bob, { since })).rooms!.join!)).toEqual([room.roomId])
    const { next_batch: later } = await other.sync(bob, { since })
    expect((await other.sync(bob, { since: later })).rooms).toBeUndefined()
    other.positions.close()
  })
})

test('events that other servers kept back leave a gap, of which the timeline tells the newer side', async () => {
  const alice = someone('alice')
  const room = await story.room(alice)
  const { next_batch: since } = await story.sync(alice)
  await room.send(alice, 'before')
  await room.openGap('$missing')
  const after = await room.send('@bob:there.example', 'after')
  const { timeline } = joined(await story.sync(alice, { since }), room)
  expect(ids(timeline.events)).toEqual([after.eventId])
  expect(timeline.limited).toBe(true)
})

describe('a gap inside the live chain', () => {
  test('parts what is told from what is not, also for one who has the older side', async () => {
    const [alice, bob] = [someone('alice'), '@bob:there.example']
    const room = await story.room(alice)
    const { next_batch: start } = await story.sync(alice)
    await room.send(alice, 'before')
    const { next_batch: before } = await story.sync(alice)
    await room.cutGap('$missing')
    const first = await room.send(bob, 'behind the gap')
    const second = await room.send(bob, 'and another')
    for (const since of [undefined, start, before]) {
      const { timeline } = joined(await story.sync(alice, since ? { since } : {}), room)
      expect(ids(timeline.events)).toEqual([first.eventId, second.eventId])
      expect(timeline.limited).toBe(true)
    }
  })

  test('is no gap for one who has its newer side', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    await room.cutGap('$missing')
    await room.send(alice, 'behind the gap')
    const { next_batch: since } = await story.sync(alice)
    const next = await room.send(alice, 'next')
    const { timeline } = joined(await story.sync(alice, { since }), room)
    expect(ids(timeline.events)).toEqual([next.eventId])
    expect(timeline.limited).toBe(false)
  })

  test('counts where a filter leaves out the event that begins behind it', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice)
    await room.cutGap('$missing')
    await room.tell('@bob:there.example', 'org.example.noise', {})
    const said = await room.send(alice, 'said')
    const filter = { room: { timeline: { not_types: ['org.example.*'] } } }
    const { timeline } = joined(await story.sync(alice, { since, filter }), room)
    expect(ids(timeline.events)).toEqual([said.eventId])
    expect(timeline.limited).toBe(true)
  })
})
