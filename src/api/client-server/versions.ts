import { Type as t } from '@sinclair/typebox'
import { op } from '#api/http/op.ts'
import { open } from '#core/schema.ts'

/**
 * The newest version of the specification whose parts for clients are all here: clients choose by it
 * which of two ways to go, and some take the older way, or none, below it. What was optional and is not
 * here (OAuth, SSO; test/spec/not-yet.txt) is answered as the spec wants it, or with `M_UNRECOGNIZED`.
 * test/spec/shown-by.tsv names the tests of what the newest versions brought.
 */
const newest = 19

const versions = ['r0.6.1', ...Array.from({ length: newest }, (_, index) => `v1.${index + 1}`)]

/** What is of none of these versions, or is looked for by its old name even so. */
const unstableFeatures = {
  // v1.11: media for those who say who they are.
  'org.matrix.msc3916.stable': true,
  // v1.16: more fields of profiles.
  'uk.tcpip.msc4133.stable': true,
  // v1.18: no invites from anybody.
  'org.matrix.msc4380.stable': true,
  // v1.19: rooms that two users share.
  'uk.half-shot.msc2666.query_mutual_rooms': true,
  'uk.half-shot.msc2666.query_mutual_rooms.stable': true,
  // MSC4186: of no version yet.
  'org.matrix.simplified_msc3575': true,
}

export const getVersions = op({
  id: 'getVersions',
  method: 'GET',
  path: '/_matrix/client/versions',
  auth: 'userOptional',
  admits: ['guest'],
  response: open({ versions: t.Array(t.String()) }),

  run: (_, { config }) => ({
    versions,
    unstable_features: { ...unstableFeatures, 'org.matrix.msc2716': config.rooms.msc2716 },
  }),
})
