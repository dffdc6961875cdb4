import { Type as t } from '@sinclair/typebox'
import { section, texts, whole } from '#src/config/options.ts'

/** What the server only tells of: relays for calls, and whom to ask for help. */

export const calls = section('Relays (TURN servers) that clients are told to use for calls.', {
  uris: texts('Where they are. None: clients are told of no relay.', {
    examples: [['turn:turn.example.org:3478?transport=udp']],
  }),
  shared_secret: t.Optional(
    t.String({
      description:
        'The secret of the relays (`static-auth-secret`), of which each user gets a password that ends.',
      examples: ['a long random text'],
      minLength: 1,
      secret: true,
    }),
  ),
  credential_seconds: whole(86_400, 60, 31_536_000, 'How long such a password is good for.'),
})

const Contact = t.Object(
  {
    role: t.String({ minLength: 1 }),
    matrix_id: t.Optional(t.String({ pattern: '^@' })),
    email_address: t.Optional(t.String({ minLength: 3 })),
  },
  { additionalProperties: false },
)

export const support = section(
  'Whom users and other operators can ask: answered at /.well-known/matrix/support.',
  {
    page: t.Optional(
      t.String({
        description: 'A page with help.',
        examples: ['https://example.org/support.html'],
        minLength: 1,
      }),
    ),
    contacts: t.Array(Contact, {
      description: 'People, each with an address and a role: m.role.admin or m.role.security.',
      default: [],
      examples: [[{ role: 'm.role.admin', matrix_id: '@admin:example.org' }]],
    }),
  },
)
