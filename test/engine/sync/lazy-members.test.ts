import { beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { type JoinedRoom, Story } from '#test/engine/read/story.ts'
import { joined, keys } from './answers.ts'

const db = await testDatabase()
let story: Story
beforeAll(async () => {
  story = await Story.begin(db.pool)
})

let count = 0
/** Someone who was in no room before. */
const someone = (name: string) => `@${name}${++count}:here.example`

describe('lazy loading', () => {
  const filter = { room: { state: { lazy_load_members: true }, timeline: { limit: 1 } } }

  test('gives the members who speak, once to each device', async () => {
    const [alice, bob, carol] = [someone('alice'), someone('bob'), someone('carol')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.member(carol, 'join')
    await room.state(alice, 'm.room.name', '', { name: 'Den' })
    const first = await story.sync(alice, { filter })
    const members = (answer: JoinedRoom) =>
      (answer.state?.events ?? []).flatMap((event) =>
        event.type === 'm.room.member' ? [event.state_key!] : [],
      )
    expect(members(joined(first, room))).toEqual([alice])
    await room.send(bob, 'one')
    const second = await story.sync(alice, { filter, since: first.next_batch })
    expect(members(joined(second, room))).toEqual([bob])
    await room.send(bob, 'two')
    const third = await story.sync(alice, { filter, since: second.next_batch })
    expect(members(joined(third, room))).toEqual([])
    // The answer was lost, and is asked for again.
    const lost = await story.sync(alice, { filter, since: first.next_batch })
    expect(members(joined(lost, room))).toEqual([bob])
    const other = await story.sync(alice, { filter, since: second.next_batch, deviceId: 'OTHER' })
    expect(members(joined(other, room))).toEqual([bob])
    const redundant = {
      room: { state: { lazy_load_members: true, include_redundant_members: true } },
    }
    await room.send(bob, 'three')
    const more = await story.sync(alice, { filter: redundant, since: third.next_batch })
    expect(members(joined(more, room))).toEqual([bob])
  })

  test('gives the members by whom a room without a name is named', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    await room.send(alice, 'hello')
    const { summary, state } = joined(await story.sync(alice, { filter }), room)
    expect(summary['m.heroes']).toEqual([bob])
    expect(keys(state?.events)).toContain(`m.room.member|${bob}`)
  })
})
