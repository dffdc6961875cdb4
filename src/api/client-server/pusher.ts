import { Type as t } from '@sinclair/typebox'
import { checkKey, gatewayOf, readPusher } from '#api/client-server/push/checks.ts'
import { op } from '#api/http/op.ts'
import { MatrixError, invalidParam } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, open } from '#core/schema.ts'
import * as pushers from '#store/user/pushers.ts'
import * as threepids from '#store/user/threepids.ts'
import type { Context } from '#src/context.ts'

export const getPushers = op({
  id: 'getPushers',
  method: 'GET',
  path: '/_matrix/client/v3/pushers',
  also: ['/_matrix/client/r0/pushers'],
  auth: 'user',
  response: open({ pushers: t.Array(Content) }),

  async run({ who: { userId } }, ctx) {
    const rows = await pushers.list(ctx.sql, userId)
    return {
      pushers: rows.map(({ profile_tag: tag, data, ...row }) => ({
        ...row,
        ...(tag !== null && { profile_tag: tag }),
        data: JSON.parse(data) as JsonObject,
      })),
    }
  },
})

export const postPusher = op({
  id: 'postPusher',
  method: 'POST',
  path: '/_matrix/client/v3/pushers/set',
  also: ['/_matrix/client/r0/pushers/set'],
  auth: 'user',
  admits: ['suspended'],
  limit: 'change',
  body: open({
    app_id: t.String(),
    pushkey: t.String(),
    kind: t.Union([t.String(), t.Null()]),
    append: t.Optional(t.Boolean()),
  }),
  response: open({}),

  async run({ who: { userId, deviceId = '' }, body }, ctx) {
    const { app_id: appId, pushkey, kind } = body
    checkKey(appId, pushkey)
    if (kind === null) {
      await ctx.users.call('removePusher', userId, { appId, pushkey })
      return {}
    }
    if (kind !== 'http' && kind !== 'email')
      throw invalidParam(`There are no pushers of the kind '${kind.slice(0, 100)}'`)
    const place = { deviceId, createdAt: ctx.clock() }
    const { dataObject: data, ...wish } = readPusher(body as JsonObject, place)
    if (kind === 'http') {
      const gateway = gatewayOf(data, ctx.config.push.insecure_gateways)
      await ctx.users.call('setPusher', userId, { ...wish, kind, gateway, stopToken: null })
      return {}
    }
    await requireAddress(ctx, userId, { appId, pushkey })
    const stopToken = Buffer.from(crypto.getRandomValues(new Uint8Array(24))).toString('base64url')
    await ctx.users.call('setPusher', userId, { ...wish, kind, gateway: '', stopToken })
    return {}
  },
})

/** Nobody has letters sent to whom they like. */
async function requireAddress(
  { config, sql }: Context,
  userId: string,
  { appId, pushkey }: pushers.PushKey,
): Promise<void> {
  if (config.email.host === undefined || config.email.from === undefined)
    throw invalidParam('This server sends no e-mail')
  if (appId !== 'm.email') throw invalidParam('The `app_id` of a pusher by e-mail is `m.email`')
  if ((await threepids.owner(sql, 'email', pushkey)) !== userId)
    throw new MatrixError(400, 'M_THREEPID_NOT_FOUND', 'The address is none of this account')
}
