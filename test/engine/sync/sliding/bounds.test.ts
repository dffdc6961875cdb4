import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Story, type StoryRoom } from '#test/engine/read/story.ts'
import { SlidingClients, bodies, type Ask } from './client.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
let people = 0
const person = (name: string) => `@${name}${++people}:here.example`
const everywhere = { lists: undefined, rooms: undefined }

async function roomsOf(userId: string, count: number): Promise<StoryRoom[]> {
  const rooms: StoryRoom[] = []
  for (let each = 0; each < count; each++) rooms.push(await story.room(userId))
  return rooms
}

/** How many statements some work sends. */
async function statementsOf(work: () => Promise<unknown>): Promise<number> {
  let count = 0
  const settings = db.pool.options as { debug: unknown }
  settings.debug = () => count++
  await work()
  settings.debug = false
  return count
}

const wide: Ask = {
  lists: {
    all: { required: [['*', '*']], filters: { notRoomTypes: new Set(['m.space']), isDm: false } },
  },
  extensions: {
    toDevice: { since: 0, limit: 100 },
    e2ee: true,
    accountData: everywhere,
    receipts: everywhere,
    typing: everywhere,
  },
}

describe('sliding sync', () => {
  test('sends as many statements for many rooms as for few', async () => {
    const counts: number[][] = []
    // The first one fills what is kept for all.
    for (const size of [2, 3, 12]) {
      const [alice, bob] = [person('alice'), person('bob')]
      const rooms = await roomsOf(alice, size)
      for (const room of rooms) {
        await room.member(bob, 'join')
        await room.state(alice, 'm.room.name', '', { name: 'x' })
      }
      await story.positions.settled()
      // Whose places are in memory.
      await story.sync(alice)
      const clients = new SlidingClients(story)
      let pos: string | undefined
      const ask = async () => void (pos = (await clients.ask(alice, { ...wide, pos })).pos)
      const first = await statementsOf(ask)
      for (const room of rooms) await room.send(bob, 'hello')
      await story.positions.settled()
      counts.push([first, await statementsOf(ask)])
    }
    expect(counts[2]).toEqual(counts[1]!)
  })

  test('tells what is too much for one answer with the next ones, at once', async () => {
    const alice = person('alice')
    const rooms = await roomsOf(alice, 5)
    const clients = new SlidingClients(story, { cost: 40 })
    const seen: string[] = []
    let pos: string | undefined
    for (const expected of [2, 2, 1, 0]) {
      const timeoutMs = expected === 0 ? 0 : 600_000
      const answer = await clients.ask(alice, { pos, lists: { all: { limit: 10 } }, timeoutMs })
      const told = Object.keys(answer.rooms)
      expect(told).toHaveLength(expected)
      expect(answer.lists['all']!.count).toBe(5)
      seen.push(...told)
      pos = answer.pos
    }
    expect(seen.sort()).toEqual(rooms.map(({ roomId }) => roomId).sort())
  })

  test('names the rooms of long lists by their data alone', async () => {
    const alice = person('alice')
    await roomsOf(alice, 3)
    const clients = new SlidingClients(story)
    const [range]: [number, number][] = [[0, 2]]
    const ranges = Array.from({ length: 34 }, () => range!)
    const answer = await clients.ask(alice, {
      lists: { some: { ranges: [range!] }, all: { ranges } },
    })
    expect(answer.lists['some']!.ops[0]!.room_ids).toHaveLength(3)
    expect(answer.lists['all']).toEqual({ count: 3 } as never)
  })
})

describe('the order of rooms', () => {
  test('is that in which events came, whatever the clocks of their senders say', async () => {
    let now = 1_700_000_000_000
    const clients = new SlidingClients(story, { clock: () => now })
    const alice = person('alice')
    const [early, late, quiet] = await roomsOf(alice, 3)
    const ask = async (pos?: string) => {
      const answer = await clients.ask(alice, { pos, lists: { all: {} } })
      return { ...answer, order: answer.lists['all']!.ops[0]!.room_ids }
    }
    // The clocks of all of them are years ahead, or behind: the story began at another time.
    now += 10_000_000_000
    const first = await ask()
    expect(first.order[0]).toBe(quiet!.roomId)
    now += 1000
    const second = await ask(first.pos)
    await early!.send(alice, 'a')
    now += 1000
    const third = await ask(second.pos)
    expect(third.order).toEqual([early!.roomId, quiet!.roomId, late!.roomId])
    await late!.send(alice, 'b')
    now += 1000
    const fourth = await ask(third.pos)
    expect(fourth.order).toEqual([late!.roomId, early!.roomId, quiet!.roomId])
    const stamps = [third.rooms[early!.roomId]!, fourth.rooms[late!.roomId]!]
    expect(stamps[1]!.bump_stamp!).toBeGreaterThan(stamps[0]!.bump_stamp!)
    expect(stamps[1]!.bump_stamp!).toBeLessThanOrEqual(now)
    expect(bodies(stamps[1])).toEqual(['b'])
  })

  test('does not go beyond now for who says so', async () => {
    const now = 1_600_000_000_000
    const clients = new SlidingClients(story, { clock: () => now })
    const alice = person('alice')
    const [room] = await roomsOf(alice, 1)
    const answer = await clients.ask(alice, { lists: { all: {} } })
    expect(answer.rooms[room!.roomId]!.bump_stamp).toBe(now)
  })

  test('is by all that happens, and bump stamps by what people say', async () => {
    const clients = new SlidingClients(story, { clock: () => 1_800_000_000_000 })
    const alice = person('alice')
    const [a, b] = await roomsOf(alice, 2)
    await a!.send(alice, 'said')
    await b!.send(alice, 'said later')
    await a!.state(alice, 'm.room.topic', '', { topic: 'last' })
    const answer = await clients.ask(alice, { lists: { all: {} } })
    expect(answer.lists['all']!.ops[0]!.room_ids).toEqual([a!.roomId, b!.roomId])
    expect(answer.rooms[a!.roomId]!.bump_stamp).toBeLessThan(answer.rooms[b!.roomId]!.bump_stamp!)
  })
})
