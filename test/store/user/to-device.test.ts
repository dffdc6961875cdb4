import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import * as toDevice from '#store/user/to-device.ts'

const { pool: sql } = await testDatabase()
const most = 20
let position = 0

async function newDevices(userId: string, ...deviceIds: string[]): Promise<void> {
  for (const deviceId of deviceIds)
    await sql`insert into devices ${sql({ shard: 1, user_id: userId, device_id: deviceId, created_at: 1 })}`
}

/** So many messages of one sender, one after the other; how many were not kept. */
async function send(sender: string, userId: string, deviceId: string, count = 1): Promise<number> {
  let notKept = 0
  for (let n = 0; n < count; n++)
    notKept += await toDevice.add(
      sql,
      [{ shard: 1, userId, deviceId, position: ++position, sender, type: 'm.x', content: '{}' }],
      most,
    )
  return notKept
}

async function waiting(userId: string, deviceId: string): Promise<number> {
  const [row] = await sql<{ count: number }[]>`
    select count(*)::integer as count from to_device
    where user_id = ${userId} and device_id = ${deviceId}`
  return row!.count
}

test('a server that floods a device is not heard there any more, and keys of others are kept', async () => {
  const alice = '@alice:us.test'
  await newDevices(alice, 'PHONE', 'DESK')
  expect(await send('@spam:flood.test', alice, 'PHONE', 30)).toBe(10)
  expect(await send('@other:flood.test', alice, 'PHONE')).toBe(1)
  expect(await waiting(alice, 'PHONE')).toBe(20)
  expect(await send('@friend:good.test:8448', alice, 'PHONE')).toBe(0)
  // Another device of hers has room.
  expect(await send('@spam:flood.test', alice, '*')).toBe(1)
  expect([await waiting(alice, 'PHONE'), await waiting(alice, 'DESK')]).toEqual([21, 1])
  // When the device has fetched some, all is as before.
  await toDevice.acknowledge(sql, { shard: 1, userId: alice, deviceId: 'PHONE' }, position - 10)
  expect(await send('@spam:flood.test', alice, 'PHONE')).toBe(0)
})

test('of users of ours each counts alone', async () => {
  const bob = '@bob:us.test'
  await newDevices(bob, 'PHONE')
  expect(await send('@spam:us.test', bob, 'PHONE', 25)).toBe(5)
  expect(await send('@friend:us.test', bob, 'PHONE')).toBe(0)
})

test('at twice the bound nothing more is kept, whoever sends it', async () => {
  const carol = '@carol:us.test'
  await newDevices(carol, 'PHONE')
  for (let n = 0; n < 25; n++) await send(`@x:server${n}.test`, carol, 'PHONE', 2)
  expect(await waiting(carol, 'PHONE')).toBe(2 * most)
  expect(await send('@new:new.test', carol, 'PHONE')).toBe(1)
})

test('below the bound many of one server are kept', async () => {
  const dave = '@dave:us.test'
  await newDevices(dave, 'PHONE')
  expect(await send('@busy:good.test', dave, 'PHONE', most - 1)).toBe(0)
  expect(await waiting(dave, 'PHONE')).toBe(most - 1)
})
