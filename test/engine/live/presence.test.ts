import { afterAll, describe, expect, test } from 'bun:test'
import type { PresenceUpdate } from '#core/event/edu.ts'
import { type Filter, parseFilter } from '#core/filter.ts'
import { Presence, maxStatus } from '#engine/live/presence.ts'
import type { LogLimits } from '#engine/live/presence-log.ts'
import type { PresencePoint } from '#engine/read/sync-token.ts'
import { readPresence } from '#engine/sync/presence.ts'
import * as stored from '#store/user/presence.ts'
import { testDatabase } from '#test/database.ts'
import { Story } from '#test/engine/read/story.ts'

const db = await testDatabase()
const story = await Story.begin(db.pool)
afterAll(() => story.positions.close())

let count = 0
const name = (server = 'here.example') => `@user${++count}:${server}`

/** Two users of ours and one of another server, in one room. */
async function room() {
  const [alice, bob, carol] = [name(), name(), name('there.example')]
  const made = await story.room(alice)
  await made.member(bob, 'join')
  await made.member(carol, 'join')
  return { alice, bob, carol, room: made }
}

const time = { now: 1_700_000_000_000 }

function begin(limits: Partial<LogLimits> = {}, epoch = 1) {
  const changed: number[][] = []
  const told: string[][] = []
  const presence = new Presence({
    sql: db.pool,
    serverName: 'here.example',
    clock: () => time.now,
    epoch,
    onChange(rooms) {
      changed.push([...rooms])
      return 0
    },
    onOwn: async (entries) =>
      void told.push(entries.map(({ userId, shown }) => `${userId} ${shown.state}`)),
    onFault: (error) => {
      throw error
    },
    limits,
  })
  return { presence, changed, told }
}

const says = (userId: string, more: Partial<PresenceUpdate> = {}): PresenceUpdate => ({
  userId,
  presence: 'online',
  statusMsg: undefined,
  lastActiveAgo: 0,
  currentlyActive: true,
  ...more,
})

const pushed = (...updates: PresenceUpdate[]) => ({ type: 'm.presence' as const, updates })

const all = parseFilter({}) as Filter

/** What a user is told since a point. */
async function read(
  presence: Presence,
  userId: string,
  since?: { presence?: PresencePoint },
  filter = all,
) {
  const { places } = await story.positions.view(userId)
  const ignored = new Set<string>()
  const { events, point } = readPresence(presence, { filter, since, ignored }, places, [])
  const told = events.map((event) => {
    const { sender, content } = event as { sender: string; content: { presence: string } }
    return `${sender} ${content.presence}`
  })
  return { events, told, next: { presence: point! } }
}

describe('a user of ours', () => {
  test('is as present as the most present device', async () => {
    const { presence } = begin()
    const alice = name()
    const state = async () => (await presence.statusOf(alice))!.presence
    presence.put(alice, 'A', 'unavailable', undefined)
    expect(await state()).toBe('unavailable')
    presence.put(alice, 'B', 'online', undefined)
    expect(await state()).toBe('online')
    presence.put(alice, 'B', 'offline', undefined)
    expect(await state()).toBe('unavailable')
    presence.put(alice, 'A', 'offline', undefined)
    expect(await state()).toBe('offline')
  })

  test('is idle after a while, online again when they do something, and gone when nobody asks', async () => {
    const { presence } = begin()
    const alice = name()
    const state = async () => (await presence.statusOf(alice))!.presence
    const end = presence.begin(alice, 'A', undefined)
    await presence.settled()
    expect(await presence.statusOf(alice)).toEqual({
      presence: 'online',
      last_active_ago: 0,
      currently_active: true,
    })
    time.now += 299_999
    presence.sweep()
    expect(await state()).toBe('online')
    time.now += 1
    presence.sweep()
    expect(await presence.statusOf(alice)).toEqual({
      presence: 'unavailable',
      last_active_ago: 300_000,
    })
    presence.active(alice, 'A')
    expect(await state()).toBe('online')
    time.now += 3_600_000
    presence.sweep()
    // Whoever waits is not gone.
    expect(await state()).toBe('unavailable')
    end()
    time.now += 59_999
    presence.sweep()
    expect(await state()).toBe('unavailable')
    time.now += 1
    presence.sweep()
    expect(await state()).toBe('offline')
  })

  test('stays as they said when a client asks without saying anything', async () => {
    const { presence } = begin()
    const alice = name()
    presence.put(alice, 'A', 'unavailable', 'away')
    presence.begin(alice, 'A', undefined)()
    expect(await presence.statusOf(alice)).toMatchObject({ presence: 'unavailable' })
    presence.begin(alice, 'A', 'online')()
    expect(await presence.statusOf(alice)).toMatchObject({
      presence: 'online',
      status_msg: 'away',
    })
    presence.begin(alice, 'A', 'offline')()
    expect(await presence.statusOf(alice)).toMatchObject({ presence: 'offline' })
    // Who hides does not come out by what they do.
    presence.active(alice, 'A')
    expect(await presence.statusOf(alice)).toMatchObject({ presence: 'offline' })
  })

  test('is told once to clients and servers, however often they come and go meanwhile', async () => {
    const { presence, changed, told } = begin()
    const { alice, bob, room: shared } = await room()
    for (let turn = 0; turn < 20; turn++) {
      presence.put(alice, 'A', turn % 2 ? 'online' : 'offline', undefined)
      presence.put(bob, 'B', 'unavailable', `${turn}`)
    }
    await presence.settled()
    expect(changed).toEqual([[shared.roomNid]])
    expect(told.map((each) => each.sort())).toEqual([
      [`${alice} online`, `${bob} unavailable`].sort(),
    ])
    presence.begin(alice, 'A', 'online')()
    presence.active(alice, 'A')
    await presence.settled()
    expect(changed).toHaveLength(1)
  })

  test('is told again to other servers before these take them to be gone', async () => {
    const { presence, told, changed } = begin()
    const { alice } = await room()
    const end = presence.begin(alice, 'A', 'online')
    await presence.settled()
    for (let minutes = 0; minutes < 29; minutes++) {
      time.now += 60_000
      presence.active(alice, 'A')
      presence.sweep()
      await presence.settled()
    }
    expect(told).toEqual([[`${alice} online`], [`${alice} online`]])
    expect(changed).toHaveLength(1)
    end()
  })

  test('is told of to a room that they join, and to nobody of a room that they left', async () => {
    const { presence } = begin()
    const { alice, bob, room: shared } = await room()
    story.positions.watchMembers((...moved) => presence.moved(...moved))
    presence.put(alice, 'A', 'online', undefined)
    await presence.settled()
    const dave = name()
    const other = await story.room(dave)
    const first = await read(presence, dave)
    expect(first.told).toEqual([])
    await other.member(alice, 'join')
    const second = await read(presence, dave, first.next)
    expect(second.told).toEqual([`${alice} online`])
    await other.member(alice, 'leave')
    await shared.member(bob, 'leave')
    await story.positions.settled()
    presence.put(alice, 'A', 'unavailable', undefined)
    await presence.settled()
    expect((await read(presence, dave, second.next)).told).toEqual([])
    expect((await read(presence, bob)).told).toEqual([])
  })
})

describe('a user of another server', () => {
  test('is there as their server says, until it says nothing for long', async () => {
    const { presence } = begin()
    const { alice, carol } = await room()
    presence.take([pushed(says(carol, { lastActiveAgo: 5_000, statusMsg: 'here' }))])
    await presence.settled()
    const first = await read(presence, alice)
    expect(first.events).toEqual([
      {
        type: 'm.presence',
        sender: carol,
        content: {
          presence: 'online',
          last_active_ago: 5_000,
          status_msg: 'here',
          currently_active: true,
        },
      },
    ])
    time.now += 29 * 60_000
    presence.sweep()
    presence.take([pushed(says(carol, { statusMsg: 'here' }))])
    time.now += 29 * 60_000
    presence.sweep()
    await presence.settled()
    const second = await read(presence, alice, first.next)
    expect(second.told).toEqual([])
    time.now += 60_000
    presence.sweep()
    await presence.settled()
    expect((await read(presence, alice, second.next)).told).toEqual([`${carol} offline`])
  })

  test('is nothing to us where nobody shares a room with them, and costs nothing', async () => {
    const { presence, changed } = begin()
    const strangers = Array.from({ length: 700 }, () => name('there.example'))
    presence.take(strangers.map((userId) => pushed(says(userId))))
    await presence.settled()
    expect([presence.log.size, presence.log.at, changed]).toEqual([0, 0, []])
    expect(await presence.statusOf(strangers[0]!)).toBeUndefined()
  })

  test('is not what another says in the name of ours', async () => {
    const { presence } = begin()
    const { alice } = await room()
    presence.take([pushed(says(alice, { statusMsg: 'lies' }))])
    await presence.settled()
    expect(await presence.statusOf(alice)).toEqual({ presence: 'offline' })
  })

  test('says no novels, and was not active before time began', async () => {
    const { presence } = begin()
    const { carol } = await room()
    const statusMsg = `${'x'.repeat(maxStatus - 1)}😀 and more`
    presence.take([pushed(says(carol, { statusMsg, lastActiveAgo: Number.MAX_SAFE_INTEGER }))])
    await presence.settled()
    const status = (await presence.statusOf(carol))!
    expect(status.status_msg).toHaveLength(maxStatus)
    expect(status.status_msg!.isWellFormed()).toBe(true)
    expect(status.last_active_ago).toBeUndefined()
  })
})

describe('what a client is told', () => {
  test('is first who is there, then who changes, and nothing twice', async () => {
    const { presence } = begin()
    const { alice, bob, carol } = await room()
    presence.put(bob, 'B', 'online', undefined)
    presence.put(alice, 'A', 'online', undefined)
    presence.put(alice, 'A', 'offline', undefined)
    presence.take([pushed(says(carol))])
    await presence.settled()
    const first = await read(presence, alice)
    expect(first.told.sort()).toEqual([`${bob} online`, `${carol} online`].sort())
    expect((await read(presence, alice, first.next)).told).toEqual([])
    presence.put(bob, 'B', 'offline', undefined)
    await presence.settled()
    expect((await read(presence, alice, first.next)).told).toEqual([`${bob} offline`])
  })

  test('is what its filter lets through, and no more than it asks for', async () => {
    const { presence } = begin()
    const { alice, bob, carol } = await room()
    presence.put(bob, 'B', 'online', undefined)
    presence.take([pushed(says(carol))])
    await presence.settled()
    const told = async (filter: object) =>
      (await read(presence, alice, undefined, parseFilter({ presence: filter }) as Filter)).told
    expect(await told({ not_types: ['m.*'] })).toEqual([])
    expect(await told({ not_senders: [bob] })).toEqual([`${carol} online`])
    expect(await told({ senders: [bob] })).toEqual([`${bob} online`])
    expect(await told({ limit: 1 })).toHaveLength(1)
    expect(await told({ limit: 0 })).toEqual([])
  })

  test('begins anew where too much was forgotten, and the memory is bounded', async () => {
    const { presence } = begin({ users: 3 })
    const { alice, bob, carol, room: shared } = await room()
    presence.take([pushed(says(carol))])
    presence.put(bob, 'B', 'online', undefined)
    await presence.settled()
    const first = await read(presence, alice)
    const others = Array.from({ length: 5 }, () => name('there.example'))
    for (const other of others) await shared.member(other, 'join')
    presence.take([pushed(...others.map((userId) => says(userId)))])
    await presence.settled()
    expect(presence.log.size).toBe(3)
    const { told } = await read(presence, alice, first.next)
    // Bob is of ours and connected: he is never forgotten.
    expect(told).toContain(`${bob} online`)
    expect(told).toHaveLength(3)
  })
})

describe('after a restart', () => {
  test('who was there is so until they do not come back, and messages are kept', async () => {
    const { presence } = begin()
    const { alice, bob, carol, room: shared } = await room()
    presence.put(alice, 'A', 'unavailable', 'on the train')
    presence.put(bob, 'B', 'online', undefined)
    presence.take([pushed(says(carol))])
    await presence.settled()
    const before = await read(presence, alice)
    await presence.close()

    const { presence: later, told, changed } = begin({}, 2)
    await later.start()
    await later.settled()
    // Other servers know it already.
    expect(told).toEqual([])
    expect(changed.flat()).toContain(shared.roomNid)
    const after = await read(later, alice, before.next)
    expect(after.told.sort()).toEqual(
      [`${alice} unavailable`, `${bob} online`, `${carol} online`].sort(),
    )
    expect(await later.statusOf(alice)).toMatchObject({ status_msg: 'on the train' })
    later.begin(alice, 'A', undefined)
    time.now += 60_000
    later.sweep()
    await later.settled()
    expect((await read(later, alice, after.next)).told.sort()).toEqual(
      [`${alice} online`, `${bob} offline`].sort(),
    )
    for (const each of [`${alice} online`, `${bob} offline`])
      expect(told.flat().filter((other) => other === each)).toHaveLength(1)
    // A client that did not ask meanwhile hears of both ends.
    expect((await read(later, alice, before.next)).told).toContain(`${bob} offline`)
    await later.close()
    expect((await stored.list(db.pool, [bob])).length).toBe(0)
  })

  test('the message of who was offline is there when they come', async () => {
    const { presence } = begin()
    const { alice } = await room()
    presence.put(alice, 'A', 'offline', 'back on monday')
    await presence.settled()
    await presence.close()
    const { presence: later } = begin({}, 2)
    expect(await later.statusOf(alice)).toEqual({
      presence: 'offline',
      status_msg: 'back on monday',
    })
    later.begin(alice, 'A', undefined)
    await later.settled()
    expect(await later.statusOf(alice)).toMatchObject({
      presence: 'online',
      status_msg: 'back on monday',
    })
    await later.close()
  })

  test('nothing is left of who is no more', async () => {
    const { presence } = begin()
    const { alice, bob } = await room()
    presence.put(alice, 'A', 'online', 'my secret')
    await presence.settled()
    const { next } = await read(presence, bob)
    await presence.close()
    const { presence: later } = begin({}, 2)
    later.forget(alice)
    await later.settled()
    await later.close()
    expect((await stored.list(db.pool, [alice])).length).toBe(0)
    presence.forget(alice)
    await presence.settled()
    expect((await read(presence, bob, next)).events).toMatchObject([
      { sender: alice, content: { presence: 'offline' } },
    ])
    await presence.close()
  })
})
