import { Type as t } from '@sinclair/typebox'
import { localUser, moderated } from '#api/client-server/admin/local-user.ts'
import { whoIs } from '#api/client-server/admin/whois.ts'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { open } from '#core/schema.ts'

const params = open({ userId: t.String() })

export const getWhoIs = op({
  id: 'getWhoIs',
  method: 'GET',
  path: '/_matrix/client/v3/admin/whois/:userId',
  also: ['/_matrix/client/r0/admin/whois/:userId'],
  auth: 'user',
  params,
  response: open({ user_id: t.String() }),

  async run({ who, params: { userId } }, ctx) {
    if (userId !== who.userId) {
      if (!who.admin) throw forbidden('Only administrators may know of others')
      await localUser(ctx, userId)
    }
    return whoIs(ctx, userId)
  },
})

const suspendPath = '/_matrix/client/v1/admin/suspend/:userId'
const unstableSuspendPath = '/_matrix/client/unstable/uk.timedout.msc4323/admin/suspend/:userId'
const Suspended = open({ suspended: t.Boolean() })

export const getAdminSuspendUser = op({
  id: 'getAdminSuspendUser',
  method: 'GET',
  path: suspendPath,
  also: [unstableSuspendPath],
  auth: 'admin',
  params,
  response: Suspended,

  async run({ params: { userId } }, ctx) {
    return { suspended: (await moderated(ctx, userId)).suspended }
  },
})

export const setAdminSuspendUser = op({
  id: 'setAdminSuspendUser',
  method: 'PUT',
  path: suspendPath,
  also: [unstableSuspendPath],
  auth: 'admin',
  params,
  body: Suspended,
  response: Suspended,

  async run({ params: { userId }, body: { suspended } }, ctx) {
    await moderated(ctx, userId)
    await ctx.accounts.change(userId, { suspended })
    return { suspended }
  },
})

const lockPath = '/_matrix/client/v1/admin/lock/:userId'
const unstableLockPath = '/_matrix/client/unstable/uk.timedout.msc4323/admin/lock/:userId'
const Locked = open({ locked: t.Boolean() })

export const getAdminLockUser = op({
  id: 'getAdminLockUser',
  method: 'GET',
  path: lockPath,
  also: [unstableLockPath],
  auth: 'admin',
  params,
  response: Locked,

  async run({ params: { userId } }, ctx) {
    return { locked: (await moderated(ctx, userId)).locked }
  },
})

export const setAdminLockUser = op({
  id: 'setAdminLockUser',
  method: 'PUT',
  path: lockPath,
  also: [unstableLockPath],
  auth: 'admin',
  params,
  body: Locked,
  response: Locked,

  async run({ params: { userId }, body: { locked } }, ctx) {
    await moderated(ctx, userId)
    await ctx.accounts.change(userId, { locked })
    return { locked }
  },
})
