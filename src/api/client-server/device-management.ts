import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import { Content, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import * as devices from '#store/user/devices.ts'

export const getDevices = op({
  id: 'getDevices',
  method: 'GET',
  path: '/_matrix/client/v3/devices',
  also: ['/_matrix/client/r0/devices'],
  auth: 'user',
  response: open({ devices: t.Array(Content) }),

  async run({ who }, ctx) {
    const rows = await devices.list(ctx.sql, shardOf(who.userId), who.userId)
    return { devices: rows.map(write) }
  },
})

export const getDevice = op({
  id: 'getDevice',
  method: 'GET',
  path: '/_matrix/client/v3/devices/:deviceId',
  also: ['/_matrix/client/r0/devices/:deviceId'],
  auth: 'user',
  params: open({ deviceId: t.String() }),
  response: open({ device_id: t.String() }),

  async run({ who, params }, ctx) {
    const { userId } = who
    const device = await devices.get(ctx.sql, shardOf(userId), userId, params.deviceId)
    if (!device) throw notFound('There is no such device')
    return write(device)
  },
})

const write = (device: devices.Device) => ({
  device_id: device.device_id,
  ...(device.display_name !== null && { display_name: device.display_name }),
  ...(device.last_seen_at !== null && { last_seen_ts: device.last_seen_at }),
  ...(device.last_seen_ip !== null && { last_seen_ip: device.last_seen_ip }),
})
