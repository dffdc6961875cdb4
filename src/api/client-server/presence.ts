import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden, invalidParam, notFound, tooLarge } from '#core/error.ts'
import { isUserId } from '#core/ids.ts'
import { open } from '#core/schema.ts'
import { maxStatus } from '#engine/live/presence.ts'
import * as presences from '#store/user/presence.ts'

const path = '/_matrix/client/v3/presence/:userId/status'
const also = ['/_matrix/client/r0/presence/:userId/status'] as const
const params = open({ userId: t.String() })
const State = t.Union([t.Literal('online'), t.Literal('unavailable'), t.Literal('offline')])

export const setPresence = op({
  id: 'setPresence',
  method: 'PUT',
  path,
  also,
  auth: 'user',
  limit: 'change',
  params,
  body: open({ presence: State, status_msg: t.Optional(t.Union([t.String(), t.Null()])) }),
  response: open({}),

  run({ who: { userId, deviceId = '' }, params, body: { presence, status_msg: status } }, ctx) {
    if (params.userId !== userId) throw forbidden('Only they themselves say that a user is there')
    if (status && status.length > maxStatus)
      throw tooLarge(`'status_msg' has ${maxStatus} characters at most`)
    ctx.presence?.put(userId, deviceId, presence, status?.toWellFormed() || undefined)
    return {}
  },
})

export const getPresence = op({
  id: 'getPresence',
  method: 'GET',
  path,
  also,
  auth: 'user',
  limit: 'lookup',
  params,
  response: open({ presence: State }),

  async run({ who, params: { userId } }, ctx) {
    if (!isUserId(userId)) throw invalidParam(`'${userId}' is not a user ID`)
    // Whether there is such a user is not told to whom they do not concern.
    if (userId !== who.userId && !(await presences.shareRoom(ctx.sql, who.userId, userId)))
      throw forbidden('You share no room with this user')
    const status = await ctx.presence?.statusOf(userId)
    if (!status) throw notFound('Nothing is known of whether this user is there')
    return status
  },
})
