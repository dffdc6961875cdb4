import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { UserId, open } from '#core/schema.ts'

export const getTokenOwner = op({
  id: 'getTokenOwner',
  method: 'GET',
  path: '/_matrix/client/v3/account/whoami',
  also: ['/_matrix/client/r0/account/whoami'],
  auth: 'user',
  admits: ['guest'],
  limit: 'lookup',
  response: open({
    user_id: UserId,
    device_id: t.Optional(t.String()),
    is_guest: t.Boolean(),
  }),

  run: ({ who: { userId, deviceId, guest } }) => ({
    user_id: userId,
    ...(deviceId !== undefined && { device_id: deviceId }),
    is_guest: guest === true,
  }),
})
