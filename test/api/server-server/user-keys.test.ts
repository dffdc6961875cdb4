import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'bun:test'
import * as userDevices from '#api/server-server/user-devices.ts'
import * as userKeys from '#api/server-server/user-keys.ts'
import type { JsonObject } from '#core/json.ts'
import { readOneTimeKeys } from '#core/keys/one-time-keys.ts'
import { MadeUpServer } from '#test/builders.ts'
import { testDatabase } from '#test/database.ts'
import { CrossSigning, Device } from '#test/device.ts'
import { here, Stage } from './stage.ts'

const db = await testDatabase()
const peer = new MadeUpServer('peer.test')
const bob = `@bob:${here}`
const v1 = '/_matrix/federation/v1'
let stage: Stage
let device: Device

beforeAll(async () => {
  const ops = [...Object.values(userKeys), ...Object.values(userDevices)]
  stage = await Stage.open(db.pool, ops, [peer])
})
afterAll(() => stage.close())
beforeEach(async () => {
  await db.pool`truncate users, devices, device_keys, one_time_keys, device_lists, key_signatures,
    cross_signing_keys`
  const { users } = stage.ctx
  await users.call('createUser', bob, { admin: false, createdAt: 1 })
  await users.call('createSession', bob, {
    deviceId: 'D',
    displayName: 'secret name',
    tokenHash: crypto.getRandomValues(new Uint8Array(32)),
    createdAt: 1,
  })
  device = new Device({ userId: bob, deviceId: 'D' })
  const keys = readOneTimeKeys(device.oneTimeKeys(2), {
    userId: bob,
    deviceId: 'D',
    key: device.key.publicKey,
  })
  await users.call('uploadKeys', bob, {
    deviceId: 'D',
    deviceKeys: JSON.stringify(device.keys),
    oneTimeKeys: keys as never,
    fallbackKeys: [],
  })
})

const query = (users: object) =>
  stage.ask(peer, 'POST', `${v1}/user/keys/query`, { device_keys: users as JsonObject })

describe('another server', () => {
  test('asks for keys, and learns no names of devices and no user-signing keys', async () => {
    const keys = new CrossSigning(bob)
    const uploaded = Object.entries({
      master: [keys.master, keys.body['master_key']],
      self_signing: [keys.selfSigning, keys.body['self_signing_key']],
      user_signing: [keys.userSigning, keys.body['user_signing_key']],
    } as const).map(([usage, [key, json]]) => ({
      usage: usage as 'master',
      publicKey: key.publicKey,
      json: JSON.stringify(json),
    }))
    await stage.ctx.users.call('putSigningKeys', bob, { keys: uploaded, before: null })
    const { status, body } = await query({ [bob]: [], '@x:elsewhere.test': [], nobody: [] })
    expect([status, body]).toEqual([
      200,
      {
        device_keys: { [bob]: { D: device.keys } },
        master_keys: { [bob]: keys.body['master_key'] },
        self_signing_keys: { [bob]: keys.body['self_signing_key'] },
      } as never,
    ])
    expect((await query({ [bob]: ['OTHER'] })).body['device_keys']).toEqual({ [bob]: {} })
    const list = await stage.ask(peer, 'GET', `${v1}/user/devices/${bob}`)
    expect(list.body).toEqual({
      user_id: bob,
      stream_id: 2,
      devices: [{ device_id: 'D', keys: device.keys }],
      master_key: keys.body['master_key']!,
      self_signing_key: keys.body['self_signing_key']!,
    })
  })

  test('claims each one-time key once', async () => {
    const claim = async () => {
      const { body } = await stage.ask(peer, 'POST', `${v1}/user/keys/claim`, {
        one_time_keys: {
          [bob]: { D: 'signed_curve25519', X: 'signed_curve25519' },
          '@x:elsewhere.test': { D: 'signed_curve25519' },
        },
      })
      return body['one_time_keys'] as Record<string, Record<string, object>>
    }
    const names = await Promise.all(
      [claim(), claim(), claim()].map(async (keys) => Object.keys((await keys)[bob]?.['D'] ?? {})),
    )
    expect(names.flat().toSorted()).toEqual(['signed_curve25519:0001', 'signed_curve25519:0002'])
    expect(await claim()).toEqual({})
  })

  test('is told what it asks wrongly', async () => {
    const wrong = await query({ [bob]: { D: true } })
    expect([wrong.status, wrong.body['errcode']]).toEqual([400, 'M_BAD_JSON'])
    for (const userId of ['@nobody:here.test', '@x:elsewhere.test']) {
      const { status, body } = await stage.ask(peer, 'GET', `${v1}/user/devices/${userId}`)
      expect([status, body['errcode']]).toEqual([404, 'M_NOT_FOUND'])
    }
    const stranger = await stage.fetch(new Request(`https://${here}${v1}/user/devices/${bob}`))
    expect(stranger.status).toBe(401)
  })
})
