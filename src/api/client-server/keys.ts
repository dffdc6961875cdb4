import { Type as t } from '@sinclair/typebox'
import { keyError } from '#api/client-server/keys/error.ts'
import { readUpload } from '#api/client-server/keys/upload.ts'
import { op } from '#api/http/op.ts'
import { missingParam } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { deviceKeysFault } from '#core/keys/device-keys.ts'
import { Content, open, record } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import { decodeToken } from '#engine/read/sync-token.ts'
import { readDeviceLists } from '#engine/sync/device-lists.ts'
import * as deviceKeys from '#store/user/device-keys.ts'
import type { Context } from '#src/context.ts'

const prefix = '/_matrix/client'
const OneTimeKeys = record(t.Unknown())

export const uploadKeys = op({
  id: 'uploadKeys',
  method: 'POST',
  path: `${prefix}/v3/keys/upload`,
  also: [`${prefix}/r0/keys/upload`, `${prefix}/unstable/keys/upload`],
  auth: 'user',
  admits: ['guest', 'suspended'],
  body: open({
    device_keys: t.Optional(Content),
    one_time_keys: t.Optional(OneTimeKeys),
    fallback_keys: t.Optional(OneTimeKeys),
    // MSC2732
    'org.matrix.msc2732.fallback_keys': t.Optional(OneTimeKeys),
  }),
  response: open({ one_time_key_counts: record(t.Integer()) }),

  async run({ who, body }, ctx) {
    const { userId, deviceId } = who
    // An application service may act as a user without a device.
    if (deviceId === undefined) throw missingParam("'device_id' must say whose keys these are")
    const identity = body.device_keys as JsonObject | undefined
    const fault = identity && deviceKeysFault(identity, userId, deviceId)
    if (fault) throw keyError(fault)
    const { one_time_keys: oneTime = {} } = body
    const fallbacks = body.fallback_keys ?? body['org.matrix.msc2732.fallback_keys'] ?? {}
    const hasKeys = Object.keys(oneTime).length > 0 || Object.keys(fallbacks).length > 0
    const known = identity ?? (hasKeys ? await identityOf(ctx, userId, deviceId) : undefined)
    const { counts } = await ctx.users.call('uploadKeys', userId, {
      deviceId,
      ...(identity && { deviceKeys: JSON.stringify(identity) }),
      ...readUpload(
        { one_time_keys: oneTime, fallback_keys: fallbacks },
        { userId, deviceId, identity: known },
      ),
    })
    return {
      one_time_key_counts: { ...counts, signed_curve25519: counts['signed_curve25519'] ?? 0 },
    }
  },
})

/** The identity keys that the device has uploaded before. */
async function identityOf(ctx: Context, userId: string, deviceId: string) {
  const [device] = await deviceKeys.find(ctx.sql, [{ shard: shardOf(userId), userId, deviceId }])
  return device?.json ? (JSON.parse(device.json) as JsonObject) : undefined
}

const Timeout = t.Optional(t.Integer({ minimum: 0 }))

/** Spec: 10 seconds unless told; Not spec: a minute at most. */
const deadlineOf = (timeout = 10_000): number => Math.min(Math.max(timeout, 1000), 60_000)

export const queryKeys = op({
  id: 'queryKeys',
  method: 'POST',
  path: `${prefix}/v3/keys/query`,
  also: [`${prefix}/r0/keys/query`, `${prefix}/unstable/keys/query`],
  auth: 'user',
  admits: ['guest', 'suspended'],
  body: open({ timeout: Timeout, device_keys: record(t.Array(t.String())) }),
  response: open({ device_keys: record(Content) }),

  async run({ who, body }, ctx) {
    const wanted = new Map(Object.entries(body.device_keys))
    return (await ctx.keys.query(who, wanted, deadlineOf(body.timeout))) as {
      device_keys: Record<string, Content>
    }
  },
})

export const claimKeys = op({
  id: 'claimKeys',
  method: 'POST',
  path: `${prefix}/v3/keys/claim`,
  also: [`${prefix}/r0/keys/claim`, `${prefix}/unstable/keys/claim`],
  auth: 'user',
  admits: ['guest', 'suspended'],
  body: open({
    timeout: Timeout,
    one_time_keys: record(record(t.String())),
  }),
  response: open({ one_time_keys: record(Content) }),

  async run({ body }, ctx) {
    const wanted = new Map(
      Object.entries(body.one_time_keys).map(([userId, devices]) => [
        userId,
        new Map(Object.entries(devices)),
      ]),
    )
    return (await ctx.keys.claim(wanted, deadlineOf(body.timeout))) as {
      one_time_keys: Record<string, Content>
    }
  },
})

export const getKeysChanges = op({
  id: 'getKeysChanges',
  method: 'GET',
  path: `${prefix}/v3/keys/changes`,
  also: [`${prefix}/r0/keys/changes`, `${prefix}/unstable/keys/changes`],
  auth: 'user',
  query: open({ from: t.String(), to: t.String() }),
  response: open({ changed: t.Array(t.String()), left: t.Array(t.String()) }),

  // `to` is a hint: what came after it is told as well, and again by /sync.
  async run({ who, query }, ctx) {
    const from = decodeToken(query.from)
    decodeToken(query.to)
    const { userId } = who
    const { vector, places } = await ctx.positions.view(userId)
    const news = await readDeviceLists(ctx.sql, ctx.positions, userId, places, from, vector)
    return { changed: [...news.changed], left: [...news.left] }
  },
})
