import { Type as t } from '@sinclair/typebox'
import { localUser } from '#api/client-server/admin/local-user.ts'
import { whoIs } from '#api/client-server/admin/whois.ts'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { open } from '#core/schema.ts'
import { joinedRoomIds } from '#engine/read/members.ts'

// What administrators do with accounts, in the form that known tools speak.

const path = '/_synapse/admin/v1'
const params = open({ userId: t.String() })

export const deactivateByAdmin = op({
  id: 'deactivateByAdmin',
  method: 'POST',
  path: `${path}/deactivate/:userId`,
  auth: 'admin',
  params,
  body: open({ erase: t.Optional(t.Boolean()) }),
  response: open({ id_server_unbind_result: t.String() }),

  async run({ who, params: { userId }, body: { erase = false } }, ctx) {
    await localUser(ctx, userId)
    if (userId === who.userId) throw forbidden('Nobody can take their own account away here')
    await ctx.accounts.deactivate(userId, erase)
    ctx.departures.wake()
    ctx.presence?.forget(userId)
    if (erase) await ctx.erased.refresh()
    return { id_server_unbind_result: 'success' }
  },
})

export const resetPassword = op({
  id: 'resetPassword',
  method: 'POST',
  path: `${path}/reset_password/:userId`,
  auth: 'admin',
  maxBytes: 64 * 1024,
  params,
  body: open({ new_password: t.String(), logout_devices: t.Optional(t.Boolean()) }),

  async run({ params: { userId }, body }, ctx) {
    await localUser(ctx, userId)
    const logOut = body.logout_devices ?? true
    await ctx.accounts.setPassword(userId, body.new_password, { logOut })
    return {}
  },
})

export const suspendByAdmin = op({
  id: 'suspendByAdmin',
  method: 'PUT',
  path: `${path}/suspend/:userId`,
  auth: 'admin',
  params,
  body: open({ suspend: t.Boolean() }),

  async run({ who, params: { userId }, body }, ctx) {
    await localUser(ctx, userId)
    if (userId === who.userId) throw forbidden('Nobody can suspend themselves')
    await ctx.accounts.change(userId, { suspended: body.suspend })
    return { [`user_${userId}_suspended`]: body.suspend }
  },
})

export const getAdminOf = op({
  id: 'getAdminOf',
  method: 'GET',
  path: `${path}/users/:userId/admin`,
  auth: 'admin',
  params,
  response: open({ admin: t.Boolean() }),

  async run({ params: { userId } }, ctx) {
    return { admin: (await localUser(ctx, userId)).admin }
  },
})

export const setAdminOf = op({
  id: 'setAdminOf',
  method: 'PUT',
  path: `${path}/users/:userId/admin`,
  auth: 'admin',
  params,
  body: open({ admin: t.Boolean() }),

  async run({ who, params: { userId }, body: { admin } }, ctx) {
    await localUser(ctx, userId)
    if (userId === who.userId && !admin) throw forbidden('Nobody can take their own powers away')
    await ctx.accounts.change(userId, { admin })
    return {}
  },
})

export const whoisByAdmin = op({
  id: 'whoisByAdmin',
  method: 'GET',
  path: `${path}/whois/:userId`,
  auth: 'admin',
  params,
  response: open({ user_id: t.String() }),

  async run({ params: { userId } }, ctx) {
    await localUser(ctx, userId)
    return whoIs(ctx, userId)
  },
})

export const getJoinedRoomsOf = op({
  id: 'getJoinedRoomsOf',
  method: 'GET',
  path: `${path}/users/:userId/joined_rooms`,
  auth: 'admin',
  params,
  response: open({ joined_rooms: t.Array(t.String()), total: t.Integer() }),

  async run({ params: { userId } }, ctx) {
    const rooms = await joinedRoomIds(ctx.sql, userId)
    return { joined_rooms: rooms, total: rooms.length }
  },
})

export const isUsernameFree = op({
  id: 'isUsernameFree',
  method: 'GET',
  path: `${path}/username_available`,
  auth: 'admin',
  query: open({ username: t.String() }),
  response: open({ available: t.Boolean() }),

  async run({ query: { username } }, ctx) {
    await ctx.accounts.requireFree(username)
    return { available: true }
  },
})
