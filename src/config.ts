import { type Static, Type as t } from '@sinclair/typebox'
import { type Budget, type LimitClass, defaultBudgets } from '#api/http/rate-limit.ts'
import { appservices } from '#src/config/appservice-options.ts'
import { media, urlPreviews } from '#src/config/media.ts'
import { metrics } from '#src/config/metrics.ts'
import { policyServer, presence } from '#src/config/live.ts'
import { calls, support } from '#src/config/offers.ts'
import { push } from '#src/config/push.ts'
import { flag, oneOf, privateRanges, seconds, section, texts, whole } from '#src/config/options.ts'
import { defaultRoomVersion, stableVersions } from '#core/room-version.ts'

/**
 * Every option of the server: one schema, from which the file is checked, defaults are taken and the
 * documented example is printed. Options keep the names that they have in the file.
 *
 * An option with `secret` may be given as `…_file` too: the path of a file that holds the value.
 */

const serves = ['client', 'federation', 'admin', 'metrics'] as const

const Listener = t.Object(
  {
    address: t.String({ description: 'An IP address of this machine.', default: '127.0.0.1' }),
    port: whole(8008, 0, 65_535, 'The port; 0 takes any free one.'),
    serves: t.Array(oneOf(serves, ''), {
      description:
        'What is answered here: client (the client-server API), federation (the server-server API and the keys), admin (administration), metrics (what Prometheus reads, see [metrics]).',
      default: ['client', 'federation', 'admin'],
      minItems: 1,
      uniqueItems: true,
    }),
    trusted_proxies: texts(
      'Addresses and ranges of reverse proxies, whose X-Forwarded-For header is believed.',
      { default: ['127.0.0.1', '::1'] },
    ),
    tls: t.Optional(
      t.Object(
        {
          certificate: t.String({ description: 'A PEM file: the certificate and its chain.' }),
          key: t.String({ description: 'A PEM file: the private key.' }),
        },
        {
          description: 'Answers HTTPS instead of HTTP.',
          additionalProperties: false,
          examples: [{ certificate: '/etc/laneway/tls.crt', key: '/etc/laneway/tls.key' }],
        },
      ),
    ),
  },
  { additionalProperties: false },
)

const federation = section('Talking to other servers.', {
  device_names: flag(false, 'Whether other servers are told what users call their devices.'),
  enabled: flag(true, 'False: this server talks to no other server, and answers none.'),
  delegate_to: t.Optional(
    t.String({
      description:
        'Where other servers find this one, as host or host:port, if not at server_name:8448: answered at /.well-known/matrix/server.',
      examples: ['matrix.example.org:443'],
    }),
  ),
  static_destinations: t.Record(t.String(), t.String(), {
    description: 'Servers that are reached at a given host:port, whatever their name leads to.',
    default: {},
    examples: [{ hs2: '127.0.0.3:8448' }],
  }),
  extra_ca: texts('PEM files of certificate authorities to trust besides the usual ones.', {
    examples: [['/etc/laneway/private-ca.crt']],
  }),
  blocked_ip_ranges: texts(
    'No request leads to these addresses, whatever name another server gives for them.',
    { default: privateRanges },
  ),
  allowed_ip_ranges: texts('Exceptions to blocked_ip_ranges.', { examples: [['10.1.0.0/16']] }),
  notaries: texts(
    'Servers that are asked for the keys of a server that does not answer itself, in this order.',
    { examples: [['matrix.org']] },
  ),
  request_timeout_seconds: seconds(30, 0.1, 600, 'The longest that a request to a server takes.'),
  retry_min_seconds: seconds(
    10,
    0.01,
    86_400,
    'How long a server that failed is left alone; doubles with every further failure.',
  ),
  retry_max_seconds: seconds(86_400, 0.01, 604_800, 'The longest that it is left alone.'),
})

const Policy = t.Object(
  {
    id: t.String({ description: 'What the policy is, such as privacy_policy.', minLength: 1 }),
    version: t.String({ minLength: 1 }),
    language: t.String({ description: 'Of the document, such as en.', minLength: 1 }),
    name: t.String({ minLength: 1 }),
    url: t.String({ minLength: 1 }),
  },
  { additionalProperties: false },
)

const registration = section('Who may make an account.', {
  enabled: flag(false, 'Whether clients can register accounts.'),
  tokens: flag(
    false,
    'Whether registering asks for a token, which administrators make at /_synapse/admin/v1/registration_tokens.',
  ),
  email: flag(
    false,
    'Whether registering asks for an e-mail address, which [email] must be there for.',
  ),
  policies: t.Array(Policy, {
    description:
      'Documents that whoever registers must agree to; several languages of one are several entries.',
    default: [],
    examples: [
      [
        {
          id: 'privacy_policy',
          version: '1.0',
          language: 'en',
          name: 'Privacy policy',
          url: 'https://example.org/privacy',
        },
      ],
    ],
  }),
  dummy: flag(
    false,
    'Whether registering may ask for neither (m.login.dummy): anybody, and any robot, can do it.',
  ),
  guests: flag(
    false,
    'Whether clients can make accounts of guests, who may do little, without being asked for anything.',
  ),
  shared_secret: t.Optional(
    t.String({
      description:
        'Whoever knows it can make accounts, of administrators too, at /_synapse/admin/v1/register.',
      examples: ['a long random text'],
      minLength: 1,
      secret: true,
    }),
  ),
})

const sessions = section('How long logins are good for.', {
  refreshable_token_seconds: whole(
    300,
    1,
    31_536_000,
    'The life of an access token of a client that can refresh it.',
  ),
  token_seconds: whole(
    0,
    0,
    315_360_000,
    'The life of an access token of another client, which has to log in again then. 0: for ever.',
  ),
  authentication_seconds: whole(
    900,
    10,
    86_400,
    'How long proving who one is may take, with all of its steps.',
  ),
  reauthentication_grace_seconds: whole(
    0,
    0,
    3600,
    'How long after such a proof, or a login, the same client is not asked for it again when it removes devices or replaces cross-signing keys. Passwords, addresses and deactivation are asked for always.',
  ),
})

const email = section('The SMTP server by which e-mail is sent. Without a host none is.', {
  host: t.Optional(
    t.String({ description: 'Its name or address.', examples: ['smtp.example.org'], minLength: 1 }),
  ),
  port: whole(587, 1, 65_535, 'Its port.'),
  security: oneOf(
    ['starttls', 'tls', 'none'],
    'starttls: encrypted before anything is said. tls: encrypted from the beginning. none: not at all.',
    { default: 'starttls' },
  ),
  user: t.Optional(t.String({ description: 'Whom to log in as.', examples: ['laneway'] })),
  password: t.Optional(
    t.String({ description: 'The password of that user.', examples: ['a password'], secret: true }),
  ),
  from: t.Optional(
    t.String({
      description: 'Whom letters come from.',
      examples: ['Example <matrix@example.org>'],
      minLength: 1,
    }),
  ),
  extra_ca: texts('PEM files of certificate authorities to trust besides the usual ones.', {
    examples: [['/etc/laneway/private-ca.crt']],
  }),
})

const budget = ({ perSecond, burst }: Budget, description: string) =>
  t.Object(
    {
      per_second: t.Number({ minimum: 0.001, default: perSecond }),
      burst: t.Integer({ minimum: 1, default: burst }),
    },
    { description, default: {}, additionalProperties: false },
  )

const budgetsByClass: { [C in LimitClass]: ReturnType<typeof budget> } = {
  login: budget(defaultBudgets.login, 'Logging in, and whatever else tries a password.'),
  registration: budget(defaultBudgets.registration, 'Registering.'),
  message: budget(defaultBudgets.message, 'Messages, state, redactions.'),
  join: budget(defaultBudgets.join, 'Joining, knocking, making rooms.'),
  invite: budget(defaultBudgets.invite, 'Inviting.'),
  lookup: budget(
    defaultBudgets.lookup,
    'What asks other servers or searches: directories, profiles, history.',
  ),
  change: budget(defaultBudgets.change, 'Account data, filters, profiles and other changes.'),
  upload: budget(defaultBudgets.upload, 'Uploading files.'),
  media: budget(defaultBudgets.media, 'Downloads and thumbnails, for other servers too.'),
  peer: budget(
    defaultBudgets.peer,
    'What another server looks up: events, users, keys, directories.',
  ),
  peer_history: budget(
    defaultBudgets.peer_history,
    'What another server asks of rooms: states, auth chains, history, hierarchies, joins.',
  ),
}

export const Config = t.Object(
  {
    server_name: t.String({
      description:
        'The part of user IDs after the colon. It can never be changed: rooms and other servers know users by it.',
      default: 'localhost',
    }),
    public_base_url: t.Optional(
      t.String({
        description:
          'Where clients find this server: answered at /.well-known/matrix/client. Left out, nothing is answered there.',
        examples: ['https://matrix.example.org'],
      }),
    ),
    data_dir: t.String({
      description:
        'Holds the database, unless [database] names one, and the media, unless [media] does. Relative to where the server is started.',
      default: './data',
    }),
    listeners: t.Array(Listener, {
      description: 'Where the server listens.',
      default: [{}],
      minItems: 1,
    }),
    database: section('The PostgreSQL to use.', {
      url: t.Optional(
        t.String({
          description:
            'A PostgreSQL of your own, 15 or newer. Left out, the server runs one in data_dir. DATABASE_URL in the environment does the same.',
          examples: ['postgres://laneway:password@localhost:5432/laneway'],
          secret: true,
        }),
      ),
      main_connections: whole(10, 2, 1000, 'Connections of the main thread at most.'),
      worker_connections: whole(4, 2, 1000, 'Connections of each other thread at most.'),
      wait_seconds: seconds(
        10,
        0,
        60,
        'How long requests wait for a database that went away before they are told to come back later.',
      ),
    }),
    workers: section('Threads.', {
      rooms: whole(
        0,
        0,
        64,
        'How many threads write rooms. 0: one less than there are cores, at least one.',
      ),
    }),
    federation,
    registration,
    sessions,
    email,
    passwords: section('How passwords are stored: argon2id.', {
      memory_kib: whole(19_456, 8, 4_194_304, 'Memory that checking one takes.'),
      iterations: whole(2, 1, 100, 'Rounds over that memory.'),
    }),
    rooms: section('Rooms made here.', {
      default_version: oneOf(
        [...stableVersions.keys()],
        'Their version, unless a client asks for another.',
        {
          default: defaultRoomVersion.id,
        },
      ),
      msc2716: flag(
        false,
        'Whether application services can put history into rooms in batches (MSC2716, batch_send), and rooms of its versions (org.matrix.msc2716v3 and v4) can be made.',
      ),
      import_gap: flag(
        false,
        'Whether the first message of a room leaves numbers (depths) free before it, so that other servers read what is imported there later in its order, and sooner. They are seen in events, and unusual.',
      ),
    }),
    user_directory: section('Searching for people.', {
      all_accounts: flag(
        false,
        'Whether every account of this server is found by every user. False: only those with whom a room is shared, or who are in a published one.',
      ),
    }),
    presence,
    push,
    media,
    url_previews: urlPreviews,
    calls,
    support,
    policy_server: policyServer,
    rate_limits: section(
      'How often a user, a server, or an address where nobody is logged in, may call: per second in the long run, and how often at once.',
      { enabled: flag(true, 'False: no limits.'), ...budgetsByClass },
    ),
    metrics,
    appservices,
    log: section('The log.', {
      level: oneOf(
        ['trace', 'debug', 'info', 'warn', 'error', 'silent'],
        'The least that is written.',
        {
          default: 'info',
        },
      ),
      file: t.Optional(
        t.String({
          description: 'Where it goes, if not to standard output.',
          examples: ['/var/log/laneway.log'],
        }),
      ),
      format: oneOf(
        ['auto', 'json', 'pretty'],
        'json: a JSON object per line. pretty: readable lines. auto: pretty on a terminal, else json.',
        { default: 'auto' },
      ),
    }),
  },
  { additionalProperties: false },
)

export type Config = Static<typeof Config>
export type ListenerConfig = Static<typeof Listener>

/** What callers may ask, or nothing where limits are off. */
export function budgetsOf(config: Config): Record<LimitClass, Budget> | undefined {
  const { enabled, ...classes } = config.rate_limits
  if (!enabled) return undefined
  const budgets = Object.entries(classes).map(([name, { per_second, burst }]) => [
    name,
    { perSecond: per_second, burst },
  ])
  return Object.fromEntries(budgets) as Record<LimitClass, Budget>
}
