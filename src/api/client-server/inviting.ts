import { Type as t } from '@sinclair/typebox'
import { requireNotBlocked } from '#api/client-server/room/blocked.ts'
import { landed } from '#api/client-server/room/landed.ts'
import { memberContent } from '#api/client-server/room/member-content.ts'
import { requireWilling } from '#api/client-server/room/willing.ts'
import { noThirdParties } from '#api/client-server/room/third-party.ts'
import { op } from '#api/http/op.ts'
import { invalidParam, missingParam } from '#core/error.ts'
import { isUserId } from '#core/ids.ts'
import { RoomId, open } from '#core/schema.ts'

/** Also takes what `inviteBy3PID` takes, on the same path, only to say that it is not supported. */
export const inviteUser = op({
  id: 'inviteUser',
  method: 'POST',
  path: '/_matrix/client/v3/rooms/:roomId/invite',
  also: ['/_matrix/client/r0/rooms/:roomId/invite'],
  auth: 'user',
  limit: 'invite',
  params: open({ roomId: RoomId }),
  body: open({ user_id: t.Optional(t.String()), reason: t.Optional(t.String()) }),

  async run({ who, params, body }, ctx) {
    const { user_id: target, reason } = body
    if ('medium' in body || 'id_server' in body) throw noThirdParties()
    if (target === undefined) throw missingParam("'user_id' is missing")
    if (!isUserId(target)) throw invalidParam(`${target} is not a user ID`)
    await Promise.all([requireWilling(ctx, target), requireNotBlocked(ctx, params.roomId)])
    const at = await ctx.rooms.call('changeMembership', params.roomId, {
      sender: who.userId,
      target,
      membership: 'invite',
      content: await memberContent(ctx, target, reason),
    })
    landed(ctx, at)
    return {}
  },
})
