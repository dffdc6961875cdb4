import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { Content, open, record } from '#core/schema.ts'

export const queryUserEncryptionKeys = op({
  id: 'queryUserEncryptionKeys',
  method: 'POST',
  path: '/_matrix/federation/v1/user/keys/query',
  auth: 'server',
  limit: 'peer',
  body: open({ device_keys: record(t.Array(t.String())) }),
  response: open({ device_keys: record(Content) }),

  async run({ body }, ctx) {
    const wanted = new Map(Object.entries(body.device_keys))
    return (await ctx.keys.queryLocal(wanted)) as { device_keys: Record<string, Content> }
  },
})

export const claimUserEncryptionKeys = op({
  id: 'claimUserEncryptionKeys',
  method: 'POST',
  path: '/_matrix/federation/v1/user/keys/claim',
  auth: 'server',
  limit: 'peer',
  body: open({ one_time_keys: record(record(t.String())) }),
  response: open({ one_time_keys: record(Content) }),

  async run({ body }, ctx) {
    const wanted = new Map(
      Object.entries(body.one_time_keys).map(([userId, devices]) => [
        userId,
        new Map(Object.entries(devices)),
      ]),
    )
    const keys = await ctx.keys.claimLocal(wanted)
    return { one_time_keys: keys as Record<string, Content> }
  },
})
