import { beforeAll, describe, expect, test } from 'bun:test'
import { pino } from 'pino'
import { testDatabase } from '#test/database.ts'
import { shardOf } from '#core/shard.ts'
import { Positions } from '#engine/read/positions.ts'
import { encodeToken } from '#engine/read/sync-token.ts'
import { Story } from './story.ts'

const db = await testDatabase()
let story: Story
beforeAll(async () => {
  story = await Story.begin(db.pool)
})

let count = 0
const someone = (name: string) => `@${name}${++count}:here.example`

const never = new AbortController().signal
const soon = () => new Promise((resolve) => setTimeout(resolve, 20))

/** Whether a promise is settled after what is on its way has happened. */
async function isSettled(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol('pending')
  return (await Promise.race([promise, soon().then(() => pending)])) !== pending
}

const another = (options: { lookEveryMs?: number; maxRemembered?: number } = {}) =>
  new Positions(db.pool, {
    serverName: story.serverName,
    log: pino({ enabled: false }),
    ...options,
  })

describe('waiting', () => {
  test('ends when an event comes to a room of the user, and not for other rooms', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const [room, other] = [await story.room(alice), await story.room(bob)]
    const { vector } = await story.positions.view(alice)
    const waiting = story.positions.waitFor(alice, vector, never, 10_000)
    await other.send(bob, 'not for alice')
    expect(await isSettled(waiting)).toBe(false)
    await room.send(alice, 'hello')
    await waiting
  })

  test('ends for an invite, account data and an event between the token and the call', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    const { vector } = await story.positions.view(bob)
    const waiting = story.positions.waitFor(bob, vector, never, 10_000)
    await room.member(bob, 'invite', { by: alice })
    await waiting
    const next = await story.positions.view(bob)
    const again = story.positions.waitFor(bob, next.vector, never, 10_000)
    await story.accountData(bob, '', 'm.direct', {})
    await again
    // Both vectors are behind by now.
    await story.positions.waitFor(bob, vector, never, 10_000)
  })

  test('is for a stated number of requests of one user, and of others all the same', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const caller = new AbortController()
    const { vector } = await story.positions.view(alice)
    await story.positions.view(bob)
    const wait = (userId: string) =>
      story.positions.waitFor(userId, vector, caller.signal, 100_000).then(
        () => 'woken',
        ({ status, errcode }: { status: number; errcode: string }) => `${status} ${errcode}`,
      )
    const waiting = Array.from({ length: 200 }, () => wait(alice))
    expect(await wait(alice)).toBe('429 M_LIMIT_EXCEEDED')
    const other = wait(bob)
    expect(await isSettled(Promise.race([...waiting, other]))).toBe(false)
    caller.abort()
    expect(new Set(await Promise.all([...waiting, other]))).toEqual(new Set(['woken']))
  })

  test('ends when the time is over, when the caller hangs up, and when the server stops', async () => {
    const alice = someone('alice')
    await story.room(alice)
    const { vector } = await story.positions.view(alice)
    await story.positions.waitFor(alice, vector, never, 1)
    const caller = new AbortController()
    const waiting = story.positions.waitFor(alice, vector, caller.signal, 10_000)
    caller.abort()
    await waiting
    const positions = another()
    await positions.start()
    const view = await positions.view(alice)
    const last = positions.waitFor(alice, view.vector, never, 10_000)
    await soon()
    positions.close()
    await last
  })

  test('a lost signal costs latency only', async () => {
    const alice = someone('alice')
    const room = await story.room(alice)
    const positions = another({ lookEveryMs: 10 })
    await positions.start()
    const { vector } = await positions.view(alice)
    const waiting = positions.waitFor(alice, vector, never, 10_000)
    // It only tells the positions of the story.
    const sent = await room.send(alice, 'hello')
    await waiting
    const view = await positions.view(alice)
    expect(view.vector.rooms[room.shard]).toBeGreaterThanOrEqual(sent.position!)
    positions.close()
  })

  test('news for many who wait is read once', async () => {
    const people = Array.from({ length: 30 }, () => someone('person'))
    const room = await story.room(people[0]!)
    for (const person of people.slice(1)) await room.member(person, 'join')
    const waiting = await Promise.all(
      people.map(async (person) => {
        const { vector } = await story.positions.view(person)
        return { done: story.positions.waitFor(person, vector, never, 10_000) }
      }),
    )
    const statements = await counting(async () => {
      await room.send(people[0]!, 'hello')
      await Promise.all(waiting.map(({ done }) => done))
    })
    // What is read, beside the statements of the commit.
    expect(statements.filter((text) => text.includes('with stretch'))).toHaveLength(1)
  })
})

describe('a view', () => {
  test('has where the user is in every room, at the vector it names', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const [one, two] = [await story.room(alice), await story.room(alice)]
    await one.member(bob, 'join')
    await two.member(bob, 'invite', { by: alice })
    const places = async (positions: Positions) =>
      Object.fromEntries(
        (await positions.view(bob)).places.map((place) => [place.roomId, place.membership]),
      )
    const expected = { [one.roomId]: 'join', [two.roomId]: 'invite' }
    expect(await places(story.positions)).toEqual(expected)
    await one.member(bob, 'leave')
    expect(await places(story.positions)).toEqual({ ...expected, [one.roomId]: 'leave' })
    const fresh = another()
    await fresh.start()
    expect(await places(fresh)).toEqual({ ...expected, [one.roomId]: 'leave' })
  })

  test('undoes what was committed after it', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const room = await story.room(alice)
    await room.member(bob, 'join')
    const behind = another()
    await behind.start()
    // Not told to `behind`: it still stands before these.
    await room.member(bob, 'leave')
    await room.member(bob, 'ban', { by: alice })
    const { places, vector } = await behind.view(bob)
    expect(places.map((place) => place.membership)).toEqual(['join'])
    behind.advanceRooms([[room.shard, story.owner.shard(room.shard).position]])
    const later = await behind.view(bob)
    expect(later.places.map((place) => place.membership)).toEqual(['ban'])
    expect(encodeToken(later.vector)).not.toBe(encodeToken(vector))
  })

  test('is right when memory is short', async () => {
    const [alice, bob] = [someone('alice'), someone('bob')]
    const small = another({ maxRemembered: 2 })
    await small.start()
    const rooms = []
    for (let each = 0; each < 4; each++) {
      const room = await story.room(alice)
      await room.member(bob, 'join')
      small.advanceRooms([[room.shard, story.owner.shard(room.shard).position]])
      rooms.push(room)
    }
    expect((await small.view(alice)).places).toHaveLength(4)
    expect((await small.view(bob)).places).toHaveLength(4)
    const start = await small.view(alice)
    for (const room of rooms) {
      await room.send(bob, 'hello')
      small.advanceRooms([[room.shard, story.owner.shard(room.shard).position]])
      await small.settled()
    }
    // Either it knows that they changed, or it says that it does not know.
    for (const room of rooms)
      expect(small.roomChanged(room.shard, room.roomNid, start.vector.rooms[room.shard]!)).not.toBe(
        false,
      )
  })
})

describe('many writers', () => {
  test('a reader who follows finds every event once, and nothing at or below what was passed', async () => {
    const alice = someone('alice')
    const rooms = await Promise.all(Array.from({ length: 5 }, () => story.room(alice)))
    // Two of the same shard.
    let twin = `!0:${story.serverName}`
    for (let each = 1; shardOf(twin) !== rooms[0]!.shard; each++)
      twin = `!${each}:${story.serverName}`
    rooms.push(await story.room(alice, { roomId: twin }))
    let { next_batch: since } = await story.sync(alice)
    const told: string[] = []
    let writing = true
    const writers = rooms.map(async (room, at) => {
      for (let each = 0; each < 25; each++) {
        told.push((await room.send(alice, `${at} ${each}`)).eventId)
        // Others commit in the same shards, and some fail.
        if (each % 5 === 0) await story.failCommit(room)
      }
    })
    const done = Promise.all(writers).finally(() => (writing = false))
    const found: string[] = []
    const filter = { room: { timeline: { limit: 100 } } }
    for (;;) {
      const last = !writing
      const answer = await story.sync(alice, { since, filter, timeoutMs: last ? 0 : 50 })
      since = answer.next_batch
      for (const room of Object.values(answer.rooms?.join ?? {})) {
        expect(room.timeline.limited).toBe(false)
        found.push(...room.timeline.events.map((event) => event.event_id))
      }
      if (last && !answer.rooms) break
    }
    await done
    expect(found.toSorted()).toEqual(told.toSorted())
  })
})

test('a room is known to have rested between two looks, though it changed in several since', async () => {
  const alice = someone('alice')
  const room = await story.room(alice)
  const { shard, roomNid } = room
  // Another room of its shard, which moves the shard's position.
  let other = await story.room(alice)
  while (other.shard !== shard) other = await story.room(alice)
  const at = async () => (await story.positions.settled()).rooms[shard]!
  const before = await at()
  await room.send(alice, 'a change')
  const changed = await at()
  await other.send(alice, 'of the other room')
  const rested = await at()
  expect(rested).toBeGreaterThan(changed)
  for (let look = 0; look < 4; look++) {
    await room.send(alice, `later ${look}`)
    await at()
    expect(story.positions.roomRested(shard, roomNid, changed, rested)).toBe(true)
    expect(story.positions.roomRested(shard, roomNid, before, rested)).toBe(false)
    expect(story.positions.roomRested(shard, roomNid, changed, await at())).toBe(false)
  }
  // Of what is longer ago nothing is known.
  await room.send(alice, 'once more')
  await at()
  expect(story.positions.roomRested(shard, roomNid, changed, rested)).toBe(false)
})

test('who begins to wait hears of what came while nobody did', async () => {
  const [alice, bob] = [someone('alice'), someone('bob')]
  const room = await story.room(alice)
  await story.room(bob)
  const { vector } = await story.positions.view(alice)
  await room.send(alice, 'nobody waits')
  await story.positions.waitFor(alice, vector, never, 3_600_000)
  expect((await story.positions.view(alice)).vector.rooms[room.shard]!).toBeGreaterThan(
    vector.rooms[room.shard]!,
  )
})

test('a sync of a thousand rooms of which one changed takes a constant number of statements', async () => {
  const [alice, bob] = [someone('alice'), someone('bob')]
  const one = await story.room(bob)
  const few = await story.sync(bob)
  const rooms = []
  for (let each = 0; each < 200; each++) rooms.push(await story.room(alice))
  const many = await story.sync(alice)
  expect(Object.keys(many.rooms!.join!)).toHaveLength(200)
  await one.send(bob, 'hello')
  await rooms[100]!.send(alice, 'hello')
  await story.positions.settled()
  const ofOne = await counting(() => story.sync(bob, { since: few.next_batch }))
  const ofMany = await counting(() => story.sync(alice, { since: many.next_batch }))
  expect(ofMany.length).toBe(ofOne.length)
  expect(ofMany.length).toBeWithin(1, 20)
})

/** The statements sent while something runs. */
async function counting(body: () => Promise<unknown>): Promise<string[]> {
  const texts: string[] = []
  const options = db.pool.options as { debug: unknown }
  options.debug = (_connection: number, text: string) => texts.push(text)
  try {
    await body()
  } finally {
    options.debug = false
  }
  return texts
}
