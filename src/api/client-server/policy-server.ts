import { op } from '#api/http/op.ts'
import { notFound } from '#core/error.ts'

export const getWellknownPolicy = op({
  id: 'getWellknownPolicy',
  method: 'GET',
  path: '/.well-known/matrix/policy_server',
  auth: 'none',

  run(_, ctx) {
    const ed25519 = ctx.config.policy_server.ed25519_public_key
    if (ed25519 === undefined) throw notFound('There is no policy server at this name')
    return { public_keys: { ed25519 } }
  },
})
