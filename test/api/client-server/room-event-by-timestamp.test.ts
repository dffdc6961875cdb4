import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
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
beforeEach(() => {
  front.calls.length = 0
  front.federation.requests.length = 0
  front.answer = Front.landed
})
afterAll(() => front.close())

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`
/** Later than anything a story tells by itself. */
const noon = 1_800_000_000_000

const at = (room: StoryRoom, user: string, ts: number | string, dir: string) =>
  front.get(
    `/_matrix/client/v1/rooms/${encodeURIComponent(room.roomId)}/timestamp_to_event?ts=${ts}&dir=${dir}`,
    user,
  )
const none = { status: 404, body: { errcode: 'M_NOT_FOUND' } }
const found = (told: { eventId: string }, ts: number) => ({
  status: 200,
  body: { event_id: told.eventId, origin_server_ts: ts },
})

describe('the event at a time', () => {
  test('is the nearest that way, the time itself included', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const one = await room.send(alice, 'one', { ts: noon })
    const two = await room.send(alice, 'two', { ts: noon + 10 })
    expect(await at(room, alice, noon, 'f')).toEqual(found(one, noon))
    expect(await at(room, alice, noon, 'b')).toEqual(found(one, noon))
    expect(await at(room, alice, noon + 1, 'f')).toEqual(found(two, noon + 10))
    expect(await at(room, alice, noon + 9, 'b')).toEqual(found(one, noon))
    expect(await at(room, alice, noon + 11, 'f')).toMatchObject(none)
    expect(await at(room, alice, 0, 'b')).toMatchObject(none)
    expect(front.federation.requests).toEqual([])
  })

  test('is by the time of the event, whatever it follows; of several that is read first', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const late = await room.send(alice, 'its clock is ahead', { ts: noon + 50 })
    const first = await room.send(alice, 'first', { ts: noon })
    const second = await room.send(alice, 'second', { ts: noon })
    expect(await at(room, alice, noon, 'f')).toEqual(found(first, noon))
    expect(await at(room, alice, noon, 'b')).toEqual(found(second, noon))
    expect(await at(room, alice, noon + 1, 'f')).toEqual(found(late, noon + 50))
  })

  test('is none that was soft-failed, or that stands nowhere in the history', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    await room.send(alice, 'failed', { ts: noon, softFailed: true })
    await room.state(alice, 'm.room.topic', '', { topic: 'x' }, { ts: noon, outlier: true })
    expect(await at(room, alice, noon, 'f')).toMatchObject(none)
  })

  test('is one that the user may see, however many are between', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice, { visibility: 'joined' })
    for (let each = 0; each < 70; each++) await room.send(alice, 'secret', { ts: noon + each })
    const join = await room.member(bob, 'join', { ts: noon + 100 })
    expect(await at(room, bob, noon, 'f')).toEqual(found(join, noon + 100))
    // Before the room was closed to others, all of it was open to them.
    const earlier = await at(room, bob, noon + 99, 'b')
    expect(earlier.body['origin_server_ts']).toBeLessThan(noon)
  })

  test('is told only to who may read the room, and to questions that can be answered', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const refused = await at(room, someone('eve'), noon, 'f')
    expect(refused).toMatchObject({ status: 403, body: { errcode: 'M_FORBIDDEN' } })
    for (const [ts, dir] of [
      ['-1', 'f'],
      ['soon', 'f'],
      [String(2 ** 60), 'f'],
      ['1', 'x'],
      ['1', ''],
    ] as const)
      expect((await at(room, alice, ts, dir)).status).toBe(400)
  })
})

describe('where history has a gap', () => {
  /** alice's room on two servers: an event, a gap, an event. */
  async function gapped() {
    const alice = someone('alice')
    const room = await story.room(alice)
    await room.member('@bob:there.example', 'join')
    const before = await room.send(alice, 'before', { ts: noon })
    await room.cutGap('$missing')
    const after = await room.send(alice, 'after', { ts: noon + 100 })
    return { alice, room, before, after }
  }

  const theyHave = (eventId: string, ts: number) => {
    front.federation.answer = () => ({
      status: 200,
      body: JSON.stringify({ event_id: eventId, origin_server_ts: ts }),
    })
  }
  const asked = () => front.federation.requests.map(({ destination, uri }) => [destination, uri])
  const theirs = `$${'A'.repeat(43)}`

  test('other servers are asked, and what they have is fetched', async () => {
    const { alice, room, after } = await gapped()
    theyHave(theirs, noon + 50)
    front.answer = async (method) => {
      if (method !== 'backfill') throw new Error(method)
      const chain = story.owner.shard(room.shard).nextNid()
      const part = room.part()
      const old = await room.add(
        part,
        alice,
        'm.room.message',
        { body: 'between' },
        { history: { chain, index: 0 }, ts: noon + 50 },
      )
      between = old
      const [live] = await story.sql<{ order_key: Buffer; from_index: number }[]>`
        select order_key, from_index from spans
        where shard = ${room.shard} and room_nid = ${room.roomNid} and gap is not null`
      const { order_key: orderKey, from_index: from } = live!
      part.spans.push(
        { orderKey, chain: room.chain, from, to: null, gap: null, hidden: false },
        {
          orderKey: Buffer.concat([orderKey.subarray(0, -1), Buffer.from([orderKey.at(-1)! - 1])]),
          chain,
          from: null,
          to: null,
          gap: null,
          hidden: false,
        },
      )
      await room.commit(part)
      return 1
    }
    let between: { eventId: string } | undefined
    const answer = await at(room, alice, noon + 1, 'f')
    expect(answer).toEqual(found(between!, noon + 50))
    expect(answer).not.toEqual(found(after, noon + 100))
    const id = encodeURIComponent(room.roomId)
    expect(asked()).toEqual([
      ['there.example', `/_matrix/federation/v1/timestamp_to_event/${id}?ts=${noon + 1}&dir=f`],
    ])
  })

  test('ours stands if theirs is no nearer, cannot be had, or there is no answer', async () => {
    const { alice, room, before, after } = await gapped()
    theyHave(theirs, noon + 200)
    expect(await at(room, alice, noon + 1, 'f')).toEqual(found(after, noon + 100))
    expect(front.calls).toEqual([])
    theyHave(theirs, noon + 50)
    front.answer = () => 0
    expect(await at(room, alice, noon + 1, 'f')).toEqual(found(after, noon + 100))
    expect(await at(room, alice, noon + 99, 'b')).toEqual(found(before, noon))
    expect(front.calls).toHaveLength(2)
    for (const body of ['{}', '[]', '{"event_id":"no","origin_server_ts":1}']) {
      front.federation.answer = () => ({ status: 200, body })
      expect(await at(room, alice, noon + 1, 'f')).toEqual(found(after, noon + 100))
    }
    // The other way of the time.
    theyHave(theirs, noon - 50)
    expect(await at(room, alice, noon + 1, 'f')).toEqual(found(after, noon + 100))
    expect(front.calls).toHaveLength(2)
  })

  test('nobody is asked where nothing is missing between', async () => {
    const { alice, room, before, after } = await gapped()
    expect(await at(room, alice, noon - 1, 'f')).toEqual(found(before, noon))
    expect(await at(room, alice, noon + 101, 'b')).toEqual(found(after, noon + 100))
    expect(asked()).toEqual([])
  })
})
