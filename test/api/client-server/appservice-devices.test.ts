import { describe, expect, test } from 'bun:test'
import { testDatabase } from '#test/database.ts'
import { CrossSigning, Device } from '#test/device.ts'
import { acting, ghost, irc, openBridged, told } from './bridge.ts'

/** Spec: application-service-api/#device-management (v1.17) */
const db = await testDatabase()
const home = await openBridged(db)
const asIrc = home.client.as(irc.asToken)

const devicesOf = async (userId: string): Promise<string[]> => {
  const { body } = await asIrc.get(`/devices${acting(userId)}`)
  return (body.devices as { device_id: string }[]).map((each) => each.device_id)
}

describe('an application service', () => {
  test('makes devices of its users, which nobody has to log in', async () => {
    const userId = await ghost(asIrc)
    const path = `/devices/BRIDGE${acting(userId)}`
    expect(await devicesOf(userId)).toEqual([])
    expect(told(await asIrc.put(path, { display_name: 'Bridge' }))).toEqual([201, undefined])
    expect((await asIrc.get(path)).body).toMatchObject({
      device_id: 'BRIDGE',
      display_name: 'Bridge',
    })
    // The second time it is a change.
    expect(told(await asIrc.put(path, { display_name: 'Other' }))).toEqual([200, undefined])
    expect((await asIrc.get(path)).body.display_name).toBe('Other')
    expect(await devicesOf(userId)).toEqual(['BRIDGE'])
  })

  test('encrypts as such a device: with its keys, one-time keys, messages and /sync', async () => {
    const [userId, other] = [await ghost(asIrc), await home.person('other')]
    await asIrc.put(`/devices/BRIDGE${acting(userId)}`, {})
    const as = acting(userId, '&device_id=BRIDGE')
    const device = new Device({ userId, deviceId: 'BRIDGE' })
    const uploaded = await asIrc.post(`/keys/upload${as}`, {
      device_keys: device.keys,
      one_time_keys: device.oneTimeKeys(1),
    })
    expect(uploaded.body).toEqual({ one_time_key_counts: { signed_curve25519: 1 } })
    const asked = await other.client.post('/keys/query', { device_keys: { [userId]: [] } })
    expect(Object.keys(asked.body.device_keys[userId])).toEqual(['BRIDGE'])
    const wanted = { [userId]: { BRIDGE: 'signed_curve25519' } }
    const claimed = await other.client.post('/keys/claim', { one_time_keys: wanted })
    expect(Object.keys(claimed.body.one_time_keys[userId].BRIDGE)).toHaveLength(1)
    const message = { messages: { [userId]: { BRIDGE: { n: 1 } } } }
    await other.client.put('/sendToDevice/m.test/1', message)
    const { body } = await asIrc.get(`/sync${as}&timeout=0`)
    expect(body.to_device.events).toMatchObject([{ sender: other.userId, content: { n: 1 } }])
  })

  test('removes devices and replaces signing keys without proving who the user is', async () => {
    const userId = await ghost(asIrc)
    for (const id of ['ONE', 'TWO', 'THREE']) await asIrc.put(`/devices/${id}${acting(userId)}`, {})
    expect((await asIrc.delete(`/devices/ONE${acting(userId)}`)).status).toBe(200)
    const rest = { devices: ['TWO', 'NONE'] }
    expect((await asIrc.post(`/delete_devices${acting(userId)}`, rest)).status).toBe(200)
    expect(await devicesOf(userId)).toEqual(['THREE'])
    for (let turn = 0; turn < 2; turn++) {
      const { body } = new CrossSigning(userId)
      const path = `/keys/device_signing/upload${acting(userId)}`
      expect(told(await asIrc.post(path, body))).toEqual([200, undefined])
    }
  })

  test('makes none of malformed names, of signing keys, or of users who are not its own', async () => {
    const userId = await ghost(asIrc)
    const keys = new CrossSigning(userId)
    await asIrc.post(`/keys/device_signing/upload${acting(userId)}`, keys.body)
    const names = ['x'.repeat(256), keys.master.publicKey]
    for (const name of names) {
      const path = `/devices/${encodeURIComponent(name)}${acting(userId)}`
      expect(told(await asIrc.put(path, {}))).toEqual([400, 'M_INVALID_PARAM'])
    }
    const other = await home.person('other')
    const path = `/devices/MINE${acting(other.userId)}`
    expect(told(await asIrc.put(path, {}))).toEqual([403, 'M_FORBIDDEN'])
    // A user makes none either: there it is only a change.
    expect(told(await other.client.put('/devices/MINE', {}))).toEqual([404, 'M_NOT_FOUND'])
  })
})
