import { unrecognized } from '#core/error.ts'
import { op } from '#api/http/op.ts'

/** We are no policy server: where one shares our name, a proxy leads its path to it. */
export const askPolicyServerToSign = op({
  id: 'askPolicyServerToSign',
  method: 'POST',
  path: '/_matrix/policy/v1/sign',
  auth: 'server',

  run() {
    throw unrecognized(404)
  },
})
