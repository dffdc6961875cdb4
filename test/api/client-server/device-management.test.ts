import { expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { Home } from './home.ts'

const db = await testDatabase()
const home = await Home.open(db)

test('a user sees their devices, with their names and when they were seen', async () => {
  const alice = await home.person('alice')
  await home.logIn(alice.userId, { deviceId: 'PHONE', displayName: 'phone' })
  await home.ctx.tokens.flush()
  await alice.client.get('/account/whoami')
  await home.ctx.tokens.flush()
  const { body } = await alice.client.get('/devices')
  expect(body.devices).toHaveLength(2)
  expect(body.devices).toContainEqual({ device_id: 'PHONE', display_name: 'phone' })
  expect(body.devices).toContainEqual({
    device_id: alice.deviceId,
    last_seen_ts: home.now,
    last_seen_ip: expect.any(String),
  })
  const one = await alice.client.get('/devices/PHONE')
  expect(one.body).toEqual({ device_id: 'PHONE', display_name: 'phone' })
})

test('the devices of others are not there', async () => {
  const [alice, bob] = [await home.person('alice'), await home.person('bob')]
  const { status, body } = await alice.client.get(`/devices/${bob.deviceId}`)
  expect([status, body.errcode]).toEqual([404, 'M_NOT_FOUND'])
  expect((await home.client.get('/devices')).status).toBe(401)
})
