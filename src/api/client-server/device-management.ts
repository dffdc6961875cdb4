import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { json } from '#api/http/reply.ts'
import { badJson, invalidParam, notFound } from '#core/error.ts'
import { isShortText } from '#core/ids.ts'
import { Content, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import * as devices from '#store/user/devices.ts'
import type { Context } from '#src/context.ts'

const path = '/_matrix/client/v3/devices'
const older = '/_matrix/client/r0/devices'
const params = open({ deviceId: t.String() })

export const getDevices = op({
  id: 'getDevices',
  method: 'GET',
  path,
  also: [older],
  auth: 'user',
  admits: ['guest'],
  response: open({ devices: t.Array(Content) }),

  async run({ who }, ctx) {
    const rows = await devices.list(ctx.sql, shardOf(who.userId), who.userId)
    return { devices: rows.map(writeDevice) }
  },
})

export const getDevice = op({
  id: 'getDevice',
  method: 'GET',
  path: `${path}/:deviceId`,
  also: [`${older}/:deviceId`],
  auth: 'user',
  admits: ['guest'],
  params,
  response: open({ device_id: t.String() }),

  async run({ who, params: { deviceId } }, ctx) {
    const { userId } = who
    const device = await devices.get(ctx.sql, shardOf(userId), userId, deviceId)
    if (!device) throw notFound('There is no such device')
    return writeDevice(device)
  },
})

const writeDevice = (device: devices.Device) => ({
  device_id: device.device_id,
  ...(device.display_name !== null && { display_name: device.display_name }),
  ...(device.last_seen_at !== null && { last_seen_ts: device.last_seen_at }),
  ...(device.last_seen_ip !== null && { last_seen_ip: device.last_seen_ip }),
})

/** Not spec: what other servers are shown, too, has a bound. */
const maxNameBytes = 1000

export const updateDevice = op({
  id: 'updateDevice',
  method: 'PUT',
  path: `${path}/:deviceId`,
  also: [`${older}/:deviceId`],
  auth: 'user',
  admits: ['guest', 'suspended'],
  limit: 'change',
  params,
  body: open({ display_name: t.Optional(t.String()) }),

  async run({ who, params: { deviceId }, body }, ctx) {
    const { display_name: displayName } = body
    if (displayName !== undefined && Buffer.byteLength(displayName) > maxNameBytes)
      throw badJson(`'display_name' has ${maxNameBytes} bytes at most`)
    // v1.17+
    if (who.appservice) return makeDevice(ctx, who.userId, deviceId, displayName)
    await rename(ctx, who.userId, deviceId, displayName)
    return {}
  },
})

async function rename(ctx: Context, userId: string, deviceId: string, name: string | undefined) {
  if (name !== undefined) await ctx.users.call('renameDevice', userId, deviceId, name)
  else if (!(await devices.get(ctx.sql, shardOf(userId), userId, deviceId)))
    throw notFound('There is no such device')
}

/** Spec: application-service-api/#device-management */
async function makeDevice(
  ctx: Context,
  userId: string,
  deviceId: string,
  name: string | undefined,
) {
  if (!isShortText(deviceId)) throw invalidParam('A device ID has 255 bytes at most')
  const device = { deviceId, displayName: name ?? null, createdAt: ctx.clock() }
  const [namesake] = await crossSigningKeys.namesakes(ctx.sql, [
    { shard: shardOf(userId), userId, deviceId },
  ])
  if (namesake) throw invalidParam('A device ID must not be one of the keys of its user')
  const { isNew } = await ctx.users.call('addDevice', userId, device)
  if (isNew) return json(201, {})
  await rename(ctx, userId, deviceId, name)
  return {}
}

export const deleteDevice = op({
  id: 'deleteDevice',
  method: 'DELETE',
  path: `${path}/:deviceId`,
  also: [`${older}/:deviceId`],
  auth: 'user',
  admits: ['suspended'],
  params,
  body: open({ auth: t.Optional(open({})) }),
  uia: { grace: true },

  async run({ who, params: { deviceId } }, ctx) {
    await ctx.accounts.removeDevices(who.userId, [deviceId])
    return {}
  },
})

export const deleteDevices = op({
  id: 'deleteDevices',
  method: 'POST',
  path: '/_matrix/client/v3/delete_devices',
  also: ['/_matrix/client/r0/delete_devices'],
  auth: 'user',
  admits: ['suspended'],
  body: open({
    devices: t.Array(t.String(), { maxItems: 10_000 }),
    auth: t.Optional(open({})),
  }),
  uia: { grace: true },

  async run({ who, body }, ctx) {
    await ctx.accounts.removeDevices(who.userId, body.devices)
    return {}
  },
})
