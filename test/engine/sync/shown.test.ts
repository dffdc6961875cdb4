import { beforeAll, describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'
import { ids, joined } from './answers.ts'

const db = await testDatabase()
let story: Story
beforeAll(async () => {
  story = await Story.begin(db.pool)
})

let count = 0
/** Someone who was in no room before. */
const someone = (name: string) => `@${name}${++count}:here.example`

describe('what is not shown', () => {
  test('a redacted event comes without its content, with the redaction', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice)
    const bad = await room.send(alice, 'bad')
    const redaction = await room.redact(alice, bad.eventId)
    const { timeline } = joined(await story.sync(alice, { since }), room)
    expect(timeline.events[0]).toMatchObject({
      content: {},
      unsigned: { redacted_because: { event_id: redaction.eventId } },
    })
    expect(timeline.events[1]).toMatchObject({
      redacts: bad.eventId,
      content: { redacts: bad.eventId },
    })
  })

  test('messages and invites of ignored users are left out, their state is not', async () => {
    const [alice, troll] = [someone('alice'), someone('troll')]
    const room = await story.room(alice)
    await room.member(troll, 'join')
    await story.accountData(alice, '', 'm.ignored_user_list', { ignored_users: { [troll]: {} } })
    const { next_batch: since } = await story.sync(alice)
    await room.send(troll, 'boo')
    const topic = await room.state(troll, 'm.room.topic', '', { topic: 'boo' })
    const den = await story.room(troll)
    await den.member(alice, 'invite', { by: troll })
    const answer = await story.sync(alice, { since })
    expect(ids(joined(answer, room).timeline.events)).toEqual([topic.eventId])
    expect(answer.rooms!.invite).toBeUndefined()
  })

  test('only the sending device hears of its transaction', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { next_batch: since } = await story.sync(alice)
    const txn = { userId: alice, deviceId: 'DEVICE', txnId: 'm1' }
    await room.send(alice, 'hello', { internal: { txn } })
    const own = joined(await story.sync(alice, { since }), room)
    expect(own.timeline.events[0]!.unsigned['transaction_id']).toBe('m1')
    const other = joined(await story.sync(alice, { since, deviceId: 'OTHER' }), room)
    expect(other.timeline.events[0]!.unsigned).not.toHaveProperty('transaction_id')
  })

  test('a filter chooses rooms, types, senders and fields', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const [one, two] = [await story.room(alice), await story.room(alice)]
    await one.member(bob, 'join')
    const { next_batch: since } = await story.sync(alice)
    await one.send(alice, 'mine')
    const his = await one.send(bob, 'his')
    await one.tell(bob, 'org.example_x', { body: 'other' })
    await two.send(alice, 'elsewhere')
    const filter = {
      event_fields: ['event_id', 'content.body'],
      room: { rooms: [one.roomId], timeline: { types: ['m.room.*'], senders: [bob] } },
    }
    const answer = await story.sync(alice, { since, filter })
    expect(Object.keys(answer.rooms!.join!)).toEqual([one.roomId])
    expect(joined(answer, one).timeline.events as unknown[]).toEqual([
      { event_id: his.eventId, content: { body: 'his' } },
    ])
  })
})
