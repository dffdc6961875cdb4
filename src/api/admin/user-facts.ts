import { Type as t } from '@sinclair/typebox'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'
import type { JsonObject } from '#core/json.ts'
import { Content, UserId, open } from '#core/schema.ts'
import { shardOf } from '#core/shard.ts'
import { membershipsOf } from '#engine/read/listed-rooms.ts'
import { emailAddress } from '#engine/user/identifier.ts'
import * as accountData from '#store/user/account-data.ts'
import * as pushers from '#store/user/pushers.ts'
import * as threepids from '#store/user/threepids.ts'

// What else administrators look up of a user, in the form that known tools speak.

const path = '/_synapse/admin/v1'
const params = open({ userId: t.String() })

export const getMembershipsOf = op({
  id: 'getMembershipsOf',
  method: 'GET',
  path: `${path}/users/:userId/memberships`,
  auth: 'admin',
  params,
  response: open({ memberships: Content }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    return { memberships: Object.fromEntries(await membershipsOf(ctx.sql, userId)) }
  },
})

export const getAccountDataOf = op({
  id: 'getAccountDataOf',
  method: 'GET',
  path: `${path}/users/:userId/accountdata`,
  auth: 'admin',
  params,
  response: open({ account_data: open({ global: Content, rooms: Content }) }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    const global = Object.create(null) as JsonObject
    const rooms = Object.create(null) as Record<string, JsonObject>
    for (const row of await accountData.all(ctx.sql, shardOf(userId), userId)) {
      const into =
        row.room_id === '' ? global : (rooms[row.room_id] ??= Object.create(null) as JsonObject)
      into[row.type] = JSON.parse(row.content) as JsonObject
    }
    return { account_data: { global, rooms } }
  },
})

export const getPushersOf = op({
  id: 'getPushersOf',
  method: 'GET',
  path: `${path}/users/:userId/pushers`,
  auth: 'admin',
  params,
  response: open({ pushers: t.Array(open({ pushkey: t.String() })), total: t.Integer() }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    const rows = await pushers.list(ctx.sql, userId)
    const written = rows.map(({ data, ...row }) => ({
      ...row,
      data: JSON.parse(data) as JsonObject,
    }))
    return { pushers: written, total: written.length }
  },
})

export const getUserByAddress = op({
  id: 'getUserByAddress',
  method: 'GET',
  path: `${path}/threepid/:medium/users/:address`,
  auth: 'admin',
  params: open({ medium: t.String(), address: t.String() }),
  response: open({ user_id: UserId }),

  async run({ params: { medium, address: text } }, ctx) {
    const address = medium === 'email' ? emailAddress(text) : text
    const owner =
      address === undefined ? undefined : await threepids.owner(ctx.sql, medium, address)
    if (owner === undefined) throw notFound('Nobody here has that address')
    return { user_id: owner }
  },
})
