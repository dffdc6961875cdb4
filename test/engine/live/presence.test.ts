import { describe, expect, test } from 'bun:test'
import { type Filter, parseFilter } from '#core/filter.ts'
import { maxStatus } from '#engine/live/presence.ts'
import { testDatabase } from '#test/database.ts'
import { PresenceStage, pushed, says } from './presence-stage.ts'

const stage = await PresenceStage.open(await testDatabase())

describe('a user of ours', () => {
  test('is as present as the most present device', async () => {
    const { presence } = stage.begin()
    const alice = stage.name()
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
    const { presence } = stage.begin()
    const alice = stage.name()
    const state = async () => (await presence.statusOf(alice))!.presence
    const end = presence.begin(alice, 'A', undefined)
    await presence.settled()
    expect(await presence.statusOf(alice)).toEqual({
      presence: 'online',
      last_active_ago: 0,
      currently_active: true,
    })
    stage.time.now += 299_999
    presence.sweep()
    expect(await state()).toBe('online')
    stage.time.now += 1
    presence.sweep()
    expect(await presence.statusOf(alice)).toEqual({
      presence: 'unavailable',
      last_active_ago: 300_000,
    })
    presence.active(alice, 'A')
    expect(await state()).toBe('online')
    stage.time.now += 3_600_000
    presence.sweep()
    // Whoever waits is not gone.
    expect(await state()).toBe('unavailable')
    end()
    stage.time.now += 59_999
    presence.sweep()
    expect(await state()).toBe('unavailable')
    stage.time.now += 1
    presence.sweep()
    expect(await state()).toBe('offline')
  })

  test('stays as they said when a client asks without saying anything', async () => {
    const { presence } = stage.begin()
    const alice = stage.name()
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
    const { presence, changed, told } = stage.begin()
    const { alice, bob, room: shared } = await stage.room()
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
    const { presence, told, changed } = stage.begin()
    const { alice } = await stage.room()
    const end = presence.begin(alice, 'A', 'online')
    await presence.settled()
    for (let minutes = 0; minutes < 29; minutes++) {
      stage.time.now += 60_000
      presence.active(alice, 'A')
      presence.sweep()
      await presence.settled()
    }
    expect(told).toEqual([[`${alice} online`], [`${alice} online`]])
    expect(changed).toHaveLength(1)
    end()
  })

  test('is told of to a room that they join, and to nobody of a room that they left', async () => {
    const { presence } = stage.begin()
    const { alice, bob, room: shared } = await stage.room()
    stage.story.positions.watchMembers((...moved) => presence.moved(...moved))
    presence.put(alice, 'A', 'online', undefined)
    await presence.settled()
    const dave = stage.name()
    const other = await stage.story.room(dave)
    const first = await stage.read(presence, dave)
    expect(first.told).toEqual([])
    await other.member(alice, 'join')
    const second = await stage.read(presence, dave, first.next)
    expect(second.told).toEqual([`${alice} online`])
    await other.member(alice, 'leave')
    await shared.member(bob, 'leave')
    await stage.story.positions.settled()
    presence.put(alice, 'A', 'unavailable', undefined)
    await presence.settled()
    expect((await stage.read(presence, dave, second.next)).told).toEqual([])
    expect((await stage.read(presence, bob)).told).toEqual([])
  })
})

describe('a user of another server', () => {
  test('is there as their server says, until it says nothing for long', async () => {
    const { presence } = stage.begin()
    const { alice, carol } = await stage.room()
    presence.take([pushed(says(carol, { lastActiveAgo: 5_000, statusMsg: 'here' }))])
    await presence.settled()
    const first = await stage.read(presence, alice)
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
    stage.time.now += 29 * 60_000
    presence.sweep()
    presence.take([pushed(says(carol, { statusMsg: 'here' }))])
    stage.time.now += 29 * 60_000
    presence.sweep()
    await presence.settled()
    const second = await stage.read(presence, alice, first.next)
    expect(second.told).toEqual([])
    stage.time.now += 60_000
    presence.sweep()
    await presence.settled()
    expect((await stage.read(presence, alice, second.next)).told).toEqual([`${carol} offline`])
  })

  test('is nothing to us where nobody shares a room with them, and costs nothing', async () => {
    const { presence, changed } = stage.begin()
    const strangers = Array.from({ length: 700 }, () => stage.name('there.example'))
    presence.take(strangers.map((userId) => pushed(says(userId))))
    await presence.settled()
    expect([presence.log.size, presence.log.at, changed]).toEqual([0, 0, []])
    expect(await presence.statusOf(strangers[0]!)).toBeUndefined()
  })

  test('is not what another says in the name of ours', async () => {
    const { presence } = stage.begin()
    const { alice } = await stage.room()
    presence.take([pushed(says(alice, { statusMsg: 'lies' }))])
    await presence.settled()
    expect(await presence.statusOf(alice)).toEqual({ presence: 'offline' })
  })

  test('says no novels, and was not active before time began', async () => {
    const { presence } = stage.begin()
    const { carol } = await stage.room()
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
    const { presence } = stage.begin()
    const { alice, bob, carol } = await stage.room()
    presence.put(bob, 'B', 'online', undefined)
    presence.put(alice, 'A', 'online', undefined)
    presence.put(alice, 'A', 'offline', undefined)
    presence.take([pushed(says(carol))])
    await presence.settled()
    const first = await stage.read(presence, alice)
    expect(first.told.sort()).toEqual([`${bob} online`, `${carol} online`].sort())
    expect((await stage.read(presence, alice, first.next)).told).toEqual([])
    presence.put(bob, 'B', 'offline', undefined)
    await presence.settled()
    expect((await stage.read(presence, alice, first.next)).told).toEqual([`${bob} offline`])
  })

  test('is what its filter lets through, and no more than it asks for', async () => {
    const { presence } = stage.begin()
    const { alice, bob, carol } = await stage.room()
    presence.put(bob, 'B', 'online', undefined)
    presence.take([pushed(says(carol))])
    await presence.settled()
    const told = async (filter: object) =>
      (await stage.read(presence, alice, undefined, parseFilter({ presence: filter }) as Filter))
        .told
    expect(await told({ not_types: ['m.*'] })).toEqual([])
    expect(await told({ not_senders: [bob] })).toEqual([`${carol} online`])
    expect(await told({ senders: [bob] })).toEqual([`${bob} online`])
    expect(await told({ limit: 1 })).toHaveLength(1)
    expect(await told({ limit: 0 })).toEqual([])
  })

  test('begins anew where too much was forgotten, and the memory is bounded', async () => {
    const { presence } = stage.begin({ users: 3 })
    const { alice, bob, carol, room: shared } = await stage.room()
    presence.take([pushed(says(carol))])
    presence.put(bob, 'B', 'online', undefined)
    await presence.settled()
    const first = await stage.read(presence, alice)
    const others = Array.from({ length: 5 }, () => stage.name('there.example'))
    for (const other of others) await shared.member(other, 'join')
    presence.take([pushed(...others.map((userId) => says(userId)))])
    await presence.settled()
    expect(presence.log.size).toBe(3)
    const { told } = await stage.read(presence, alice, first.next)
    // Bob is of ours and connected: he is never forgotten.
    expect(told).toContain(`${bob} online`)
    expect(told).toHaveLength(3)
  })
})
