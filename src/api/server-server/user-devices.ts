import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { invalidParam, notFound } from '#core/error.ts'
import { domainOf, isUserId } from '#core/ids.ts'
import { open } from '#core/schema.ts'
import * as users from '#store/user/users.ts'

export const getUserDevices = op({
  id: 'getUserDevices',
  method: 'GET',
  path: '/_matrix/federation/v1/user/devices/:userId',
  auth: 'server',
  limit: 'peer',
  params: open({ userId: t.String() }),

  async run({ params: { userId } }, ctx) {
    if (!isUserId(userId)) throw invalidParam(`'${userId}' is not a user ID`)
    if (domainOf(userId) !== ctx.serverName) throw notFound('The user is of another server')
    if (!(await users.exists(ctx.sql, userId))) throw notFound('There is no such user')
    return ctx.keys.listOf(userId)
  },
})
