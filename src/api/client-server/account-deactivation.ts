import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { forbidden } from '#core/error.ts'
import { open } from '#core/schema.ts'

export const deactivateAccount = op({
  id: 'deactivateAccount',
  method: 'POST',
  path: '/_matrix/client/v3/account/deactivate',
  also: ['/_matrix/client/r0/account/deactivate'],
  auth: 'ownerOptional',
  admits: ['suspended'],
  limit: 'login',
  body: open({
    auth: t.Optional(open({})),
    id_server: t.Optional(t.String()),
    erase: t.Optional(t.Boolean()),
  }),
  response: open({ id_server_unbind_result: t.String() }),
  uia: {},

  async run({ who, body: { erase = false }, proof }, ctx) {
    const userId = who?.userId ?? proof.userId
    if (userId === undefined) throw forbidden('It was not said whose account this is')
    await ctx.accounts.deactivate(userId, erase)
    ctx.departures.wake()
    ctx.presence?.forget(userId)
    if (erase) await ctx.erased.refresh()
    // Nothing is ever bound at an identity server from here.
    return { id_server_unbind_result: 'success' }
  },
})
