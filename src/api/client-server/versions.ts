import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'

/**
 * Versions of the specification that clients may rely on. What is not there yet of them (see
 * test/spec/not-yet.txt) is answered with 404 `M_UNRECOGNIZED`; what is there follows the newest
 * version, in all of which it is the same.
 */
const versions = ['r0.6.1', ...Array.from({ length: 12 }, (_, i) => `v1.${i + 1}`)]

export const getVersions = op({
  id: 'getVersions',
  method: 'GET',
  path: '/_matrix/client/versions',
  auth: 'userOptional',
  response: open({ versions: t.Array(t.String()) }),

  run: () => ({ versions, unstable_features: {} }),
})
