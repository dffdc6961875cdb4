import { Type as t } from '@sinclair/typebox'
import { keyError } from '#api/client-server/keys/error.ts'
import { op } from '#api/http/op.ts'
import { missingParam } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import {
  type CrossSigningKey,
  isFault,
  masterSignatureFault,
  readCrossSigningKey,
  usages,
} from '#core/keys/cross-signing.ts'
import { Content, open, record } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import { byPassword } from '#engine/user/uia/flows.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'
import type { Context } from '#src/context.ts'

const prefix = '/_matrix/client'

const KeysBody = open({
  master_key: t.Optional(Content),
  self_signing_key: t.Optional(Content),
  user_signing_key: t.Optional(Content),
  auth: t.Optional(Content),
})

export const uploadCrossSigningKeys = op({
  id: 'uploadCrossSigningKeys',
  method: 'POST',
  path: `${prefix}/v3/keys/device_signing/upload`,
  also: [`${prefix}/unstable/keys/device_signing/upload`],
  auth: 'user',
  admits: ['suspended'],
  body: KeysBody,
  uia: {
    grace: true,
    async flows({ who, body }, ctx) {
      const { isNew, before } = await wantedKeys(ctx, who.userId, body as JsonObject)
      // v1.11+: the first keys are free.
      return isNew && before !== undefined ? byPassword : null
    },
  },

  async run({ who: { userId }, body }, ctx) {
    const { keys, before, isNew } = await wantedKeys(ctx, userId, body as JsonObject)
    // v1.11+: a request that brings nothing new may be repeated.
    if (!isNew) return {}
    await ctx.users.call('putSigningKeys', userId, {
      keys: keys.map(({ usage, publicKey, json }) => ({
        usage,
        publicKey,
        json: JSON.stringify(json),
      })),
      before: before ?? null,
    })
    return {}
  },
})

/** The keys of a request, if they are good, and the master key before them. */
async function wantedKeys(ctx: Context, userId: string, body: JsonObject) {
  const stored = await crossSigningKeys.list(ctx.sql, [userId], [shardOf(userId)])
  const before = stored.find(({ usage }) => usage === 'master')?.public_key
  const keys = readKeys(body, userId)
  const master = keys.find(({ usage }) => usage === 'master')?.publicKey ?? before
  if (master === undefined) throw missingParam('There is no master key')
  for (const key of keys) {
    const fault = masterSignatureFault(key, userId, master)
    if (fault) throw keyError(fault)
  }
  const isKnown = ({ usage, publicKey }: CrossSigningKey) =>
    stored.some((row) => row.usage === usage && row.public_key === publicKey)
  return { keys, before, isNew: !keys.every(isKnown) }
}

function readKeys(body: JsonObject, userId: string): CrossSigningKey[] {
  return usages.flatMap((usage) => {
    const json = body[`${usage}_key`]
    if (json === undefined) return []
    const key = readCrossSigningKey(usage, json as JsonObject, userId)
    if (isFault(key)) throw keyError(key)
    return [key]
  })
}

export const uploadCrossSigningSignatures = op({
  id: 'uploadCrossSigningSignatures',
  method: 'POST',
  path: `${prefix}/v3/keys/signatures/upload`,
  also: [`${prefix}/unstable/keys/signatures/upload`],
  auth: 'user',
  admits: ['suspended'],
  body: record(Content),
  response: open({ failures: record(Content) }),

  async run({ who, body }, ctx) {
    const faults = await ctx.keys.sign(who.userId, body as JsonObject)
    return {
      failures: Object.fromEntries(
        Array.from(faults, ([userId, keys]) => [userId, Object.fromEntries(keys)]),
      ),
    }
  },
})
