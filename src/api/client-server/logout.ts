import { op } from '#api/http/op.ts'

export const logout = op({
  id: 'logout',
  method: 'POST',
  path: '/_matrix/client/v3/logout',
  also: ['/_matrix/client/r0/logout'],
  auth: 'owner',
  admits: ['locked', 'suspended'],

  async run({ who }, ctx) {
    await ctx.accounts.logOut(who.userId, who.deviceId)
    return {}
  },
})

export const logout_all = op({
  id: 'logout_all',
  method: 'POST',
  path: '/_matrix/client/v3/logout/all',
  also: ['/_matrix/client/r0/logout/all'],
  auth: 'owner',
  admits: ['locked', 'suspended'],

  async run({ who }, ctx) {
    await ctx.accounts.logOut(who.userId)
    return {}
  },
})
