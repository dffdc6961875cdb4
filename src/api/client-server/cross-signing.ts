import { Type as t } from '@sinclair/typebox'
import { askForPassword } from '#api/client-server/cross-signing/consent.ts'
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
import { Content, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import * as crossSigningKeys from '#store/user/cross-signing-keys.ts'

const prefix = '/_matrix/client'

export const uploadCrossSigningKeys = op({
  id: 'uploadCrossSigningKeys',
  method: 'POST',
  path: `${prefix}/v3/keys/device_signing/upload`,
  also: [`${prefix}/unstable/keys/device_signing/upload`],
  auth: 'user',
  body: open({
    master_key: t.Optional(Content),
    self_signing_key: t.Optional(Content),
    user_signing_key: t.Optional(Content),
    auth: t.Optional(Content),
  }),

  async run({ who, body }, ctx) {
    const { userId } = who
    const stored = await crossSigningKeys.list(ctx.sql, [userId], [shardOf(userId)])
    const before = stored.find(({ usage }) => usage === 'master')?.public_key
    const keys = readKeys(body as JsonObject, userId)
    const master = keys.find(({ usage }) => usage === 'master')?.publicKey ?? before
    if (master === undefined) throw missingParam('There is no master key')
    for (const key of keys) {
      const fault = masterSignatureFault(key, userId, master)
      if (fault) throw keyError(fault)
    }
    const isKnown = ({ usage, publicKey }: CrossSigningKey) =>
      stored.some((row) => row.usage === usage && row.public_key === publicKey)
    // v1.11+: a request that brings nothing new may be repeated.
    if (keys.every(isKnown)) return {}
    // v1.11+: the first keys are free. v1.17+: an application service is not asked.
    if (before !== undefined && !who.appservice) {
      const asking = await askForPassword(ctx, who, body.auth as JsonObject | undefined)
      if (asking) return asking
    }
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
  body: t.Record(t.String(), Content),
  response: open({ failures: t.Record(t.String(), Content) }),

  async run({ who, body }, ctx) {
    const faults = await ctx.keys.sign(who.userId, body as JsonObject)
    return {
      failures: Object.fromEntries(
        Array.from(faults, ([userId, keys]) => [userId, Object.fromEntries(keys)]),
      ),
    }
  },
})
