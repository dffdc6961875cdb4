import { Type as t } from '@sinclair/typebox'
import { keyError } from '#api/client-server/keys/error.ts'
import { readUpload } from '#api/client-server/keys/upload.ts'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { isShortText } from '#core/ids.ts'
import type { JsonObject } from '#core/json.ts'
import { deviceKeysFault } from '#core/keys/device-keys.ts'
import { Content, open, record } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import type { Session } from '#engine/user/access-tokens.ts'
import * as dehydratedDevices from '#store/user/dehydrated-devices.ts'
import * as toDevice from '#store/user/to-device.ts'
import type { Context } from '#src/context.ts'

/**
 * MSC3814: a device that a client leaves with us, encrypted. It gets messages as any other, and who
 * logs in anew takes it up, and reads them.
 */
const path = '/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device'
const Keys = record(t.Unknown())

/** Messages in one answer. */
const maxMessages = 100

export const putDehydratedDevice = op({
  id: 'putDehydratedDevice',
  method: 'PUT',
  path,
  auth: 'user',
  limit: 'change',
  body: open({
    device_id: t.String({ minLength: 1 }),
    device_data: Content,
    initial_device_display_name: t.Optional(t.String()),
    device_keys: Content,
    one_time_keys: t.Optional(Keys),
    fallback_keys: t.Optional(Keys),
  }),
  response: open({ device_id: t.String() }),

  async run({ who, body }, ctx) {
    const { userId } = who
    const deviceId = body.device_id
    if (!isShortText(deviceId)) throw invalidParam('The ID of a device has 255 bytes at most')
    const identity = body.device_keys as JsonObject
    const fault = deviceKeysFault(identity, userId, deviceId)
    if (fault) throw keyError(fault)
    await ctx.users.call('putDehydratedDevice', userId, {
      deviceId,
      displayName: body.initial_device_display_name ?? null,
      deviceData: JSON.stringify(body.device_data),
      deviceKeys: JSON.stringify(identity),
      ...readUpload(body, { userId, deviceId, identity }),
      createdAt: ctx.clock(),
    })
    return { device_id: deviceId }
  },
})

export const getDehydratedDevice = op({
  id: 'getDehydratedDevice',
  method: 'GET',
  path,
  auth: 'user',
  limit: 'lookup',
  response: open({ device_id: t.String(), device_data: Content }),

  async run({ who }, ctx) {
    const { device_id, device_data } = await requireDevice(ctx, who)
    return { device_id, device_data: JSON.parse(device_data) as Content }
  },
})

export const deleteDehydratedDevice = op({
  id: 'deleteDehydratedDevice',
  method: 'DELETE',
  path,
  auth: 'user',
  limit: 'change',
  response: open({ device_id: t.String() }),

  async run({ who }, ctx) {
    const { deviceId } = await ctx.users.call('deleteDehydratedDevice', who.userId)
    return { device_id: deviceId }
  },
})

export const getDehydratedDeviceEvents = op({
  id: 'getDehydratedDeviceEvents',
  method: 'GET',
  path: `${path}/:deviceId/events`,
  auth: 'user',
  limit: 'lookup',
  params: open({ deviceId: t.String() }),
  query: open({ from: t.Optional(t.String()) }),
  response: open({ events: t.Array(Content), next_batch: t.Optional(t.String()) }),

  async run({ who, params, query }, ctx) {
    const { events, last, isEnd } = await eventsOf(ctx, who, params.deviceId, query.from)
    return { events, ...(!isEnd && { next_batch: last }) }
  },
})

/** As the proposal had it first: who asks goes on until an answer is empty. */
export const postDehydratedDeviceEvents = op({
  id: 'postDehydratedDeviceEvents',
  method: 'POST',
  path: `${path}/:deviceId/events`,
  auth: 'user',
  limit: 'lookup',
  params: open({ deviceId: t.String() }),
  body: open({ next_batch: t.Optional(t.String()) }),
  response: open({ events: t.Array(Content), next_batch: t.String() }),

  async run({ who, params, body }, ctx) {
    const { events, last } = await eventsOf(ctx, who, params.deviceId, body.next_batch)
    return { events, next_batch: last }
  },
})

async function requireDevice(ctx: Context, { userId }: Session) {
  const [device] = await dehydratedDevices.list(ctx.sql, [userId], [shardOf(userId)])
  if (!device) throw notFound('No dehydrated device available')
  return device
}

/** Messages stay until the device goes: who takes it up may be cut off in the middle. */
async function eventsOf(ctx: Context, who: Session, deviceId: string, from: string | undefined) {
  if ((await requireDevice(ctx, who)).device_id !== deviceId)
    throw notFound('There is no such dehydrated device')
  const low = from === undefined ? 0 : Number(/^d(\d{1,15})$/.exec(from)?.[1])
  if (Number.isNaN(low)) throw invalidParam('The token is not one that this server gave out')
  const device = { shard: shardOf(who.userId), userId: who.userId, deviceId }
  const rows = await toDevice.waiting(
    ctx.sql,
    device,
    low,
    Number.MAX_SAFE_INTEGER,
    maxMessages + 1,
  )
  const waiting = rows.filter(({ position }) => position > 0)
  const told = waiting.slice(0, maxMessages)
  return {
    events: told.map(({ sender, type, content }) => ({
      sender,
      type,
      content: JSON.parse(content) as JsonObject,
    })),
    last: `d${told.at(-1)?.position ?? low}`,
    isEnd: waiting.length <= maxMessages,
  }
}
