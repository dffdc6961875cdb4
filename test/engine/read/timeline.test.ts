import { beforeAll, describe, expect, test } from 'bun:test'
import { RemoteError } from '#core/error.ts'
import { testDatabase } from '#test/database.ts'
import { Story } from './story.ts'
import type { StoryRoom, Told } from './story-room.ts'

const db = await testDatabase()
let story: Story
beforeAll(async () => {
  story = await Story.begin(db.pool)
})

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`

const messages = async (room: StoryRoom, sender: string, number: number): Promise<Told[]> => {
  const told: Told[] = []
  for (let each = 0; each < number; each++) told.push(await room.send(sender, `message ${each}`))
  return told
}

const ids = (events: readonly { eventId: string }[]) => events.map((event) => event.eventId)

describe('paging', () => {
  test('goes back to the beginning and then says that there is no more', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const told = await messages(room, alice, 5)
    const first = await story.messages(alice, room, { limit: 3 })
    expect(first.ids).toEqual(ids(told).toReversed().slice(0, 3))
    const second = await story.messages(alice, room, { from: first.end, limit: 3 })
    expect(second.ids.slice(0, 2)).toEqual(ids(told).toReversed().slice(3))
    expect(second.end).toBeDefined()
    const third = await story.messages(alice, room, { from: second.end, limit: 10 })
    expect(third.ids).toHaveLength(2)
    expect(third.end).toBeUndefined()
  })

  test('goes forward from the beginning, and on when more has come', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const all = await story.messages(alice, room, { dir: 'f' })
    expect(all.ids).toHaveLength(3)
    const told = await messages(room, alice, 2)
    const next = await story.messages(alice, room, { dir: 'f', from: all.end })
    expect(next.ids).toEqual(ids(told))
  })

  test('takes sync tokens, which stand after the last event of their vector', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const before = await messages(room, alice, 2)
    const { next_batch: since } = await story.sync(alice)
    const after = await messages(room, alice, 2)
    const back = await story.messages(alice, room, { from: since, limit: 2 })
    expect(back.ids).toEqual(ids(before).toReversed())
    const forward = await story.messages(alice, room, { from: since, dir: 'f' })
    expect(forward.ids).toEqual(ids(after))
  })

  test('stops where it is told to', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const told = await messages(room, alice, 2)
    const { next_batch: to } = await story.sync(alice)
    const later = await messages(room, alice, 3)
    const page = await story.messages(alice, room, { to })
    expect(page.ids).toEqual(ids(later).toReversed())
    expect(page.end).toBeUndefined()
    const here = await story.messages(alice, room, { limit: 1 })
    const rest = await story.messages(alice, room, { from: to, to: here.end, dir: 'f' })
    expect(rest.ids).toEqual(ids(later).slice(0, 2))
    expect(told).toHaveLength(2)
  })

  test('a filter leaves out, and does not end early', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const rare = await room.send(bob, 'rare')
    await messages(room, alice, 30)
    const page = await story.messages(alice, room, { filter: { senders: [bob] }, limit: 1 })
    expect(page.ids).toEqual([rare.eventId])
  })

  test('refuses the token of another room', async () => {
    const alice = someone('alice')
    const [one, two] = [await story.room(alice), await story.room(alice)]
    const { start } = await story.messages(alice, one)
    await expect(story.messages(alice, two, { from: start })).rejects.toMatchObject({
      errcode: 'M_INVALID_PARAM',
    })
  })
})

/** Puts history into a room: a chain of its own, read before the event of `index` in the live one. */
async function insertHistory(room: StoryRoom, sender: string, index: number, number: number) {
  const chain = story.owner.shard(room.shard).nextNid()
  const part = room.part()
  const told: Told[] = []
  for (let each = 0; each < number; each++)
    told.push(
      await room.add(
        part,
        sender,
        'm.room.message',
        { body: `history ${each}` },
        { history: { chain, index: each } },
      ),
    )
  const span = (key: number, own: number, from: number | null, to: number | null) => ({
    orderKey: Buffer.from([key]),
    chain: own,
    from,
    to,
    gap: null,
    hidden: false,
  })
  part.spans.push(
    span(0x40, room.chain, null, index - 1),
    span(0x60, chain, 0, number - 1),
    span(0x80, room.chain, index, null),
  )
  await room.commit(part)
  return told
}

describe('history that comes later', () => {
  test('reads where it belongs, and tokens taken before still continue', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const told = await messages(room, alice, 6)
    const newest = await story.messages(alice, room, { limit: 2 })
    const atBorder = await story.messages(alice, room, { limit: 3 })
    const history = await insertHistory(room, alice, told[3]!.index!, 3)
    const whole = [...told.slice(0, 3), ...history, ...told.slice(3)]
    const all = await story.messages(alice, room, { limit: 9 })
    expect(all.ids).toEqual(ids(whole).toReversed())
    const page = await story.messages(alice, room, { from: newest.end, limit: 3 })
    expect(page.ids).toEqual(ids([told[3]!, history[2]!, history[1]!]))
    // The last event returned was the one before which it was inserted.
    const inserted = await story.messages(alice, room, { from: atBorder.end, limit: 2 })
    expect(inserted.ids).toEqual(ids([history[2]!, history[1]!]))
    const forward = await story.messages(alice, room, { from: page.end, dir: 'f', limit: 3 })
    expect(forward.ids).toEqual(ids([history[1]!, history[2]!, told[3]!]))
  })

  test('is new to nobody who syncs', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const told = await messages(room, alice, 2)
    const { next_batch: since } = await story.sync(alice)
    await insertHistory(room, alice, told[1]!.index!, 2)
    expect((await story.sync(alice, { since })).rooms).toBeUndefined()
  })

  test('is fetched when a reader comes to a gap, once a request', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const told = await messages(room, alice, 3)
    const part = room.part()
    const gapKey = (gap: string[] | null) => ({
      orderKey: Buffer.from([0x80]),
      chain: room.chain,
      from: null,
      to: null,
      gap,
      hidden: false,
    })
    part.spans.push(gapKey(['$missing']))
    await room.commit(part)
    const asked: string[][] = []
    story.backfill = async (missing) => {
      asked.push(missing)
      return 0
    }
    const none = await story.messages(alice, room, { limit: 20 })
    expect(asked).toEqual([['$missing']])
    expect(none.ids).toHaveLength(6)
    // Something was returned, so that a later try may find more.
    const again = await story.messages(alice, room, { from: none.end, limit: 20 })
    expect(again).toMatchObject({ ids: [], end: undefined })
    let history: Told[] = []
    story.backfill = async () => {
      const chain = story.owner.shard(room.shard).nextNid()
      const fetched = room.part()
      history = [
        await room.add(
          fetched,
          alice,
          'm.room.message',
          { body: 'fetched' },
          { history: { chain, index: -1 } },
        ),
      ]
      fetched.spans.push(gapKey(null), {
        ...gapKey(null),
        orderKey: Buffer.from([0x40]),
        chain,
      })
      await room.commit(fetched)
      return 1
    }
    const full = await story.messages(alice, room, { from: none.end, limit: 20 })
    expect(full.ids).toEqual(ids(history))
    expect(full.end).toBeUndefined()
    expect(told).toHaveLength(3)
  })
})

describe('a gap that nobody can fill', () => {
  test('is passed by a reader who has read everything before it', async () => {
    const bob = someone('bob')
    const room = await story.room(bob)
    const old = await room.send(bob, 'before we were away')
    const join = await room.joinAfar(bob, [['m.room.create', '', bob, {}]])
    let asked = 0
    story.backfill = async () => {
      asked++
      throw new RemoteError('there.example', 0, 'laneway.unreachable', 'no answer')
    }
    const first = await story.messages(bob, room, { limit: 2 })
    expect(first.ids).toEqual([join.eventId])
    // Each request tries once before it goes on.
    const second = await story.messages(bob, room, { from: first.end, limit: 1 })
    expect(second.ids).toEqual([old.eventId])
    expect(asked).toBe(2)
    const forward = await story.messages(bob, room, { from: second.start, dir: 'f', limit: 5 })
    expect(forward.ids).toEqual([join.eventId])
  })
})

describe('history visibility', () => {
  /** What bob sees of a room in which events happened before he was invited, between, and after he joined and left. */
  async function seenBy(visibility: string) {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice, { visibility })
    await room.send(alice, 'before')
    await room.member(bob, 'invite', { by: alice })
    await room.send(alice, 'invited')
    await room.member(bob, 'join')
    await room.send(alice, 'joined')
    const bodies = async () => {
      const { events } = await story.messages(bob, room, { limit: 50 })
      return events.flatMap(({ event }) =>
        event.type === 'm.room.message' ? [event.content['body'] as string] : [],
      )
    }
    const whileJoined = await bodies()
    await room.member(bob, 'leave')
    await room.send(alice, 'left')
    return { whileJoined, afterwards: await bodies() }
  }

  test.each([
    ['joined', ['joined'], ['joined']],
    ['invited', ['joined', 'invited'], ['joined', 'invited']],
    ['shared', ['joined', 'invited', 'before'], ['joined', 'invited', 'before']],
    ['world_readable', ['joined', 'invited', 'before'], ['joined', 'invited', 'before']],
  ])('%s', async (visibility, whileJoined, afterwards) => {
    expect(await seenBy(visibility)).toEqual({ whileJoined, afterwards })
  })

  test('it is that of the event, not that of today', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice, { visibility: 'joined' })
    await room.send(alice, 'secret')
    await room.state(alice, 'm.room.history_visibility', '', { history_visibility: 'shared' })
    await room.send(alice, 'open')
    await room.member(bob, 'join')
    const { events } = await story.messages(bob, room, { limit: 50 })
    const told = events.map(({ event }) => event.content['body'] ?? event.type)
    expect(told.slice(0, 3)).toEqual([
      'm.room.member',
      'open',
      // A change of visibility is seen if the visibility after it would do.
      'm.room.history_visibility',
    ])
    expect(told).not.toContain('secret')
  })
})
