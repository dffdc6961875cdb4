import { afterAll, describe, expect, test } from 'bun:test'
import { shardOf } from '#core/shard.ts'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { until } from '#test/until.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
afterAll(() => story.positions.close())

/** Statements while something goes on, but for the look at positions that comes every few seconds. */
async function counting(body: () => Promise<unknown>): Promise<string[]> {
  const texts: string[] = []
  const options = db.pool.options as { debug: unknown }
  options.debug = (_connection: number, text: string) => texts.push(text.trim())
  try {
    await body()
  } finally {
    options.debug = false
  }
  return texts.filter((text) => !/^select shard, position from (room|user)_shards$/.test(text))
}

/** Some work for each of many, a few at a time. */
async function forEach<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  const left = items.values()
  await Promise.all(
    Array.from({ length: 16 }, async () => {
      for (const item of left) await work(item)
    }),
  )
}

const roomsOf = async (userId: string, count: number): Promise<StoryRoom[]> => {
  const rooms: StoryRoom[] = []
  await forEach(Array.from({ length: count }), async () => {
    // As clients make them.
    rooms.push(await story.room(userId, { visibility: 'shared' }))
  })
  return rooms
}

/** What each of some messages costs its reader, who has had messages of these rooms before. */
async function costOfMessages(
  reader: string,
  rooms: readonly StoryRoom[],
  options: { filter?: object } = {},
): Promise<string[][]> {
  const sender = '@sender:here.example'
  for (const room of rooms) await room.member(sender, 'join')
  let { next_batch: since } = await story.sync(reader, options)
  const costs: string[][] = []
  for (let round = 0; round < 3; round++)
    for (const room of rooms) {
      const { eventId } = await room.send(sender, `round ${round}`)
      await story.positions.settled()
      const texts = await counting(async () => {
        const answer = await story.sync(reader, { since, ...options })
        const { timeline } = answer.rooms!.join![room.roomId]!
        expect(timeline.events.map((event) => event.event_id)).toEqual([eventId])
        since = answer.next_batch
      })
      if (round > 0) costs.push(texts)
    }
  return costs
}

describe('a message', () => {
  test('costs who is in 1,000 rooms as many statements as who is in one', async () => {
    const many = await roomsOf('@many:here.example', 1000)
    const one = await roomsOf('@one:here.example', 1)
    const [shared] = Map.groupBy(many, ({ roomId }) => shardOf(roomId))
      .values()
      .filter((rooms) => rooms.length > 1)
    const ofMany = await costOfMessages('@many:here.example', [
      ...new Set([...shared!.slice(0, 2), ...many.slice(0, 5)]),
    ])
    const ofOne = await costOfMessages('@one:here.example', one)
    // The event; what is unread is known from it.
    for (const texts of [...ofMany, ...ofOne]) expect(texts).toEqual([expect.any(String)])
  })

  test('costs no more with members that are loaded lazily, once its sender was told', async () => {
    const rooms = await roomsOf('@lazy:here.example', 2)
    const filter = { room: { state: { lazy_load_members: true } } }
    for (const texts of await costOfMessages('@lazy:here.example', rooms, { filter }))
      expect(texts).toEqual([expect.any(String)])
  })

  test('costs nothing for 500 clients that wait and are not in the room', async () => {
    const noState = { room: { state: { not_types: ['*'] }, timeline: { limit: 1 } } }
    const people = Array.from({ length: 500 }, (_, n) => `@idle${n}:here.example`)
    const [theirs] = await roomsOf('@host:here.example', 1)
    await forEach(people, (userId) => theirs!.member(userId, 'join'))
    const [busy] = await roomsOf('@reader:here.example', 1)
    await costOfMessages('@reader:here.example', [busy!])

    const costWith = async (waiting: readonly string[]) => {
      const end = new AbortController()
      const options = { timeoutMs: 600_000, signal: end.signal }
      const tokens = new Map<string, string>()
      await forEach(waiting, async (userId) => {
        tokens.set(userId, (await story.sync(userId, { filter: noState })).next_batch)
      })
      let left = waiting.length
      const polls = waiting.map(async (userId) => {
        await story.sync(userId, { since: tokens.get(userId), ...options })
        left--
      })
      await until(() => story.positions.nudge([theirs!.roomNid], 'typing') === waiting.length)
      const { next_batch: since } = await story.sync('@reader:here.example')
      const reading = story.sync('@reader:here.example', { since, timeoutMs: 600_000 })
      await until(() => story.positions.nudge([busy!.roomNid], 'typing') === 1)
      const texts = await counting(async () => {
        await busy!.send('@sender:here.example', 'hello')
        await reading
      })
      expect(left).toBe(waiting.length)
      end.abort()
      await Promise.all(polls)
      return texts.length
    }
    expect(await costWith(people)).toBe(await costWith([]))
  })
})

describe('where nothing came', () => {
  test('a client asks nothing, nor does a long poll that nothing ends', async () => {
    const userId = '@quiet:here.example'
    await roomsOf(userId, 20)
    const { next_batch: first } = await story.sync(userId)
    // What the first rounds find out is kept.
    const { next_batch: since } = await story.sync(userId, { since: first })
    expect(await counting(() => story.sync(userId, { since }))).toEqual([])
    expect(await counting(() => story.sync(userId, { since, timeoutMs: 20 }))).toEqual([])
  })

  test('what came for others of the same shards costs nothing', async () => {
    const userId = '@still:here.example'
    await roomsOf(userId, 2)
    const { next_batch: first } = await story.sync(userId)
    let { next_batch: since } = await story.sync(userId, { since: first })
    for (let n = 0; n < 200; n++)
      await story.accountData(`@other${n}:here.example`, '', 'm.some', { n })
    await story.positions.settled()
    const texts = await counting(async () => {
      since = (await story.sync(userId, { since })).next_batch
    })
    // The supply of keys, which whoever writes in the user's shard may have changed.
    expect(texts.filter((text) => !text.includes('one_time_keys'))).toEqual([])
    expect(await counting(() => story.sync(userId, { since }))).toEqual([])
  })
})
