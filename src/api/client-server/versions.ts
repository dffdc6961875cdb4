import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'

/**
 * Versions of the specification from which clients may draw conclusions. No version is served as a
 * whole yet (test/spec/not-yet.txt). Up to v1.2 a client only calls what it needs, and is told with
 * `M_UNRECOGNIZED` what is missing; from v1.3 on it would leave to the server what it otherwise does
 * itself (relations, threads).
 */
const versions = ['r0.6.1', 'v1.1', 'v1.2']

/** Parts of later versions that are there as a whole. */
const unstableFeatures = {
  // Media for those who say who they are, v1.11.
  'org.matrix.msc3916.stable': true,
}

export const getVersions = op({
  id: 'getVersions',
  method: 'GET',
  path: '/_matrix/client/versions',
  auth: 'userOptional',
  admits: ['guest'],
  response: open({ versions: t.Array(t.String()) }),

  run: () => ({ versions, unstable_features: unstableFeatures }),
})
