import { describe, expect, test } from 'bun:test'
import { openPool } from '#store/db.ts'
import * as stored from '#store/user/presence.ts'
import { testDatabase } from '#test/database.ts'
import { PostgresGate } from '#test/postgres-gate.ts'
import { until } from '#test/until.ts'
import { PresenceStage, pushed, says } from './presence-stage.ts'

const db = await testDatabase()
const stage = await PresenceStage.open(db)

describe('after a restart', () => {
  test('who was there is so until they do not come back, and messages are kept', async () => {
    const { presence } = stage.begin()
    const { alice, bob, carol, room: shared } = await stage.room()
    presence.put(alice, 'A', 'unavailable', 'on the train')
    presence.put(bob, 'B', 'online', undefined)
    presence.take([pushed(says(carol))])
    await presence.settled()
    const before = await stage.read(presence, alice)
    await presence.close()

    const { presence: later, told, changed } = stage.begin({}, 2)
    await later.start()
    await later.settled()
    // Other servers know it already.
    expect(told).toEqual([])
    expect(changed.flat()).toContain(shared.roomNid)
    const after = await stage.read(later, alice, before.next)
    expect(after.told.sort()).toEqual(
      [`${alice} unavailable`, `${bob} online`, `${carol} online`].sort(),
    )
    expect(await later.statusOf(alice)).toMatchObject({ status_msg: 'on the train' })
    later.begin(alice, 'A', undefined)
    stage.time.now += 60_000
    later.sweep()
    await later.settled()
    expect((await stage.read(later, alice, after.next)).told.sort()).toEqual(
      [`${alice} online`, `${bob} offline`].sort(),
    )
    for (const each of [`${alice} online`, `${bob} offline`])
      expect(told.flat().filter((other) => other === each)).toHaveLength(1)
    // A client that did not ask meanwhile hears of both ends.
    expect((await stage.read(later, alice, before.next)).told).toContain(`${bob} offline`)
    await later.close()
    expect((await stored.list(db.pool, [bob])).length).toBe(0)
  })

  test('the message of who was offline is there when they come', async () => {
    const { presence } = stage.begin()
    const { alice } = await stage.room()
    presence.put(alice, 'A', 'offline', 'back on monday')
    await presence.settled()
    await presence.close()
    const { presence: later } = stage.begin({}, 2)
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
    const { presence } = stage.begin()
    const { alice, bob } = await stage.room()
    presence.put(alice, 'A', 'online', 'my secret')
    await presence.settled()
    const { next } = await stage.read(presence, bob)
    await presence.close()
    const { presence: later } = stage.begin({}, 2)
    later.forget(alice)
    await later.settled()
    await later.close()
    expect((await stored.list(db.pool, [alice])).length).toBe(0)
    presence.forget(alice)
    await presence.settled()
    expect((await stage.read(presence, bob, next)).events).toMatchObject([
      { sender: alice, content: { presence: 'offline' } },
    ])
    await presence.close()
  })
})

test('what could not be read or noted while the database was away is told and noted when it is back', async () => {
  using gate = await PostgresGate.open(db.url, { code: '57P03', message: 'starting up' })
  const pool = openPool(gate.url, { max: 2 })
  const faults: unknown[] = []
  const { presence } = stage.begin({}, 1, pool, (error) => faults.push(error))
  const { alice, bob } = await stage.room()
  presence.put(alice, 'A', 'online', 'patience')
  await until(() => faults.length > 0)
  expect((await stage.read(presence, bob)).told).toEqual([])
  gate.refusal = undefined
  await until(async () => (await stage.read(presence, bob)).told.length > 0)
  gate.refusal = { code: '57P03', message: 'starting up' }
  gate.cut()
  const before = faults.length
  presence.sweep()
  await until(() => faults.length > before)
  gate.refusal = undefined
  await until(async () => {
    presence.sweep()
    return (await stored.list(db.pool, [alice])).length > 0
  })
  await presence.close()
  await pool.end()
})
