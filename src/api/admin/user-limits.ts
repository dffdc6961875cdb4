import { Type as t } from '@sinclair/typebox'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'
import * as rateLimits from '#store/user/rate-limits.ts'

// How many messages a user may send, where that is not what everybody may, in the form that known
// tools speak.

const path = '/_synapse/admin/v1/users/:userId/override_ratelimit'
const params = open({ userId: t.String() })
const Amount = t.Optional(t.Integer({ minimum: 0, maximum: 1_000_000 }))
const Limits = open({ messages_per_second: Amount, burst_count: Amount })

const write = ({ perSecond, burst }: rateLimits.OwnLimit) => ({
  messages_per_second: perSecond,
  burst_count: burst,
})

export const getRateLimitOf = op({
  id: 'getRateLimitOf',
  method: 'GET',
  path,
  auth: 'admin',
  params,
  response: Limits,

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    const own = await rateLimits.get(ctx.sql, userId)
    return own ? write(own) : {}
  },
})

/** No messages a second are no limit, of anything. */
export const setRateLimitOf = op({
  id: 'setRateLimitOf',
  method: 'POST',
  path,
  auth: 'admin',
  params,
  body: Limits,
  response: Limits,

  async run({ params: { userId }, body }, ctx) {
    await localUser(ctx, userId)
    const own = { perSecond: body.messages_per_second ?? 0, burst: body.burst_count ?? 0 }
    await rateLimits.put(ctx.sql, userId, own)
    ctx.tokens.forget(userId)
    return write(own)
  },
})

export const deleteRateLimitOf = op({
  id: 'deleteRateLimitOf',
  method: 'DELETE',
  path,
  auth: 'admin',
  params,

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    await rateLimits.remove(ctx.sql, userId)
    ctx.tokens.forget(userId)
    return {}
  },
})
