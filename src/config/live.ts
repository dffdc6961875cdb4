import { Type as t } from '@sinclair/typebox'
import { flag, section } from '#src/config/options.ts'

export const presence = section('Telling users who is online.', {
  enabled: flag(
    true,
    'Whether users see who is online of those with whom they share a room, here and on other servers. False: nobody is told of anybody, and what other servers tell is ignored.',
  ),
})

export const policyServer = section(
  'A policy server at this name, which rooms can have judge their events.',
  {
    ed25519_public_key: t.Optional(
      t.String({
        description:
          'Its public key, in unpadded base64: answered at /.well-known/matrix/policy_server. Left out, nothing is answered there.',
        examples: ['6yhHGKhCiXTSEN2ksjV7kX/N6rBQZ3Xb+M7LlC6NS/s'],
        pattern: '^[A-Za-z0-9+/_-]{43}$',
      }),
    ),
  },
)
