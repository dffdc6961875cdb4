import { afterAll, beforeAll, describe, expect, test } from 'bun:test'
import type { JsonObject } from '#core/json.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { Front } from './front.ts'

const db = await testDatabase()
let story: Story
let front: Front
beforeAll(async () => {
  story = await Story.begin(db.pool)
  front = new Front(story)
})
afterAll(() => front.close())

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`

describe('sending', () => {
  const send = (user: string, room: StoryRoom, type: string, txn: string, content: object) =>
    front.put(`/rooms/${encodeURIComponent(room.roomId)}/send/${type}/${txn}`, user, content)
  const relation = (relType: string, eventId: string, more: JsonObject = {}) => ({
    'm.relates_to': { rel_type: relType, event_id: eventId, ...more },
  })

  test('the same annotation twice is refused, unless the first was redacted, or it is the same request', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const { eventId } = await room.send(alice, 'here')
    const yes = relation('m.annotation', eventId, { key: 'yes' })
    const txn = { userId: alice, deviceId: 'DEVICE', txnId: '0' }
    const first = await room.tell(alice, 'm.reaction', yes, { internal: { txn } })
    expect(await send(alice, room, 'm.reaction', '0', yes)).toMatchObject({ status: 200 })
    expect(await send(alice, room, 'm.reaction', '1', yes)).toMatchObject({
      status: 400,
      body: { errcode: 'M_DUPLICATE_ANNOTATION' },
    })
    const no = relation('m.annotation', eventId, { key: 'no' })
    expect(await send(alice, room, 'm.reaction', '2', no)).toMatchObject({ status: 200 })
    expect(await send(alice, room, 'm.other', '3', yes)).toMatchObject({ status: 200 })
    expect(await send(bob, room, 'm.reaction', '4', yes)).toMatchObject({ status: 200 })
    await room.redact(alice, first.eventId)
    expect(await send(alice, room, 'm.reaction', '5', yes)).toMatchObject({ status: 200 })
  })

  test('a thread cannot begin at an event that relates to another', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const { eventId } = await room.send(alice, 'here')
    const reply = await room.tell(alice, 'm.room.message', relation('m.thread', eventId))
    expect(
      await send(alice, room, 'm.room.message', '1', relation('m.thread', reply.eventId)),
    ).toMatchObject({ status: 400, body: { errcode: 'M_UNKNOWN' } })
    for (const [txn, root] of [eventId, '$nothing', '\0'].entries())
      expect(
        await send(alice, room, 'm.room.message', `t${txn}`, relation('m.thread', root)),
      ).toMatchObject({ status: 200 })
  })
})
