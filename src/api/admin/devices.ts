import { Type as t } from '@sinclair/typebox'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { op } from '#api/http/op.ts'
import { badJson, notFound } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import * as devices from '#store/user/devices.ts'

// The devices of a user as administrators see and remove them, in the form that known tools speak.

const path = '/_synapse/admin/v2/users/:userId'
const params = open({ userId: t.String() })
const deviceParams = open({ userId: t.String(), deviceId: t.String() })

const write = (userId: string, device: devices.Device) => ({
  user_id: userId,
  device_id: device.device_id,
  display_name: device.display_name,
  last_seen_ip: device.last_seen_ip,
  last_seen_ts: device.last_seen_at,
  last_seen_user_agent: null,
  dehydrated: false,
})

export const listDevicesOf = op({
  id: 'listDevicesOf',
  method: 'GET',
  path: `${path}/devices`,
  auth: 'admin',
  params,
  response: open({ devices: t.Array(open({ device_id: t.String() })), total: t.Integer() }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    const rows = await devices.list(ctx.sql, shardOf(userId), userId)
    return { devices: rows.map((row) => write(userId, row)), total: rows.length }
  },
})

export const deleteDevicesOf = op({
  id: 'deleteDevicesOf',
  method: 'POST',
  path: `${path}/delete_devices`,
  auth: 'admin',
  params,
  body: open({ devices: t.Array(t.String(), { maxItems: 10_000 }) }),

  async run({ params: { userId }, body }, ctx) {
    await localUser(ctx, userId)
    await ctx.accounts.removeDevices(userId, body.devices)
    return {}
  },
})

export const getDeviceOf = op({
  id: 'getDeviceOf',
  method: 'GET',
  path: `${path}/devices/:deviceId`,
  auth: 'admin',
  params: deviceParams,
  response: open({ device_id: t.String() }),

  async run({ params: { userId, deviceId } }, ctx) {
    await localUser(ctx, userId)
    const device = await devices.get(ctx.sql, shardOf(userId), userId, deviceId)
    if (!device) throw notFound('There is no such device')
    return write(userId, device)
  },
})

export const updateDeviceOf = op({
  id: 'updateDeviceOf',
  method: 'PUT',
  path: `${path}/devices/:deviceId`,
  auth: 'admin',
  params: deviceParams,
  body: open({ display_name: t.String() }),

  async run({ params: { userId, deviceId }, body: { display_name: name } }, ctx) {
    await localUser(ctx, userId)
    if (Buffer.byteLength(name) > 1000) throw badJson("'display_name' has 1000 bytes at most")
    await ctx.users.call('renameDevice', userId, deviceId, name)
    return {}
  },
})

export const deleteDeviceOf = op({
  id: 'deleteDeviceOf',
  method: 'DELETE',
  path: `${path}/devices/:deviceId`,
  auth: 'admin',
  params: deviceParams,

  async run({ params: { userId, deviceId } }, ctx) {
    await localUser(ctx, userId)
    await ctx.accounts.removeDevices(userId, [deviceId])
    return {}
  },
})
