import { op } from '#api/http/op.ts'
import { ownKeyDocument } from '#engine/federation/own-keys.ts'

export const getServerKey = op({
  id: 'getServerKey',
  method: 'GET',
  path: '/_matrix/key/v2/server',
  // Old servers name the key they want.
  also: ['/_matrix/key/v2/server/:keyId'],
  auth: 'none',

  run: (_input, ctx) => ownKeyDocument(ctx.serverName, ctx.ownKeys, ctx.clock()),
})
