import { op } from '#api/http/op.ts'
import { MatrixError } from '#core/error.ts'

/** Spec: client-server-api/#authentication-api-discovery */
export const getAuthMetadata = op({
  id: 'getAuthMetadata',
  method: 'GET',
  path: '/_matrix/client/v1/auth_metadata',
  also: ['/_matrix/client/unstable/org.matrix.msc2965/auth_metadata'],
  auth: 'none',

  run() {
    throw new MatrixError(404, 'M_UNRECOGNIZED', 'Clients log in here without OAuth 2.0')
  },
})
