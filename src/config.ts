import { type Static, type TProperties, Type as t } from '@sinclair/typebox'
import { type Budget, type LimitClass, defaultBudgets } from '#api/http/rate-limit.ts'
import { defaultRoomVersion, roomVersions } from '#core/room-version.ts'

/**
 * Every option of the server: one schema, from which the file is checked, defaults are taken and the
 * documented example is printed. Options keep the names that they have in the file.
 *
 * An option with `secret` may be given as `…_file` too: the path of a file that holds the value.
 */

/** A table of the file, which is there with its defaults when the file leaves it out. */
const section = <P extends TProperties>(description: string, properties: P) =>
  t.Object(properties, { description, default: {}, additionalProperties: false })

const texts = (description: string, more: { default?: string[]; examples?: string[][] } = {}) =>
  t.Array(t.String(), { description, default: [], ...more })

const flag = (value: boolean, description: string) => t.Boolean({ description, default: value })

const whole = (value: number, minimum: number, maximum: number, description: string) =>
  t.Integer({ description, default: value, minimum, maximum })

const seconds = (value: number, minimum: number, maximum: number, description: string) =>
  t.Number({ description, default: value, minimum, maximum })

const oneOf = <const T extends string>(values: readonly T[], description: string, more = {}) =>
  t.Union(
    values.map((value) => t.Literal(value)),
    { description, ...more },
  )

const serves = ['client', 'federation', 'admin'] as const

const Listener = t.Object(
  {
    address: t.String({ description: 'An IP address of this machine.', default: '127.0.0.1' }),
    port: whole(8008, 0, 65_535, 'The port; 0 takes any free one.'),
    serves: t.Array(oneOf(serves, ''), {
      description:
        'What is answered here: client (the client-server API), federation (the server-server API and the keys), admin (administration).',
      default: [...serves],
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

/** Not reachable from the internet, and so not to be reached through us (IANA special-purpose). */
const privateRanges = [
  '0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24',
  '192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24',
  '224.0.0.0/4 240.0.0.0/4 ::/128 ::1/128 64:ff9b:1::/48 100::/64 2001:2::/48 2001:db8::/32',
  'fc00::/7 fe80::/10 fec0::/10 ff00::/8',
].flatMap((line) => line.split(' '))

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
        'Holds the database, unless [database] names one. Relative to where the server is started.',
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
    registration: section('Who may make an account.', {
      enabled: flag(false, 'Whether clients can register accounts.'),
      dummy: flag(
        false,
        'Whether registering asks for nothing (m.login.dummy): anybody, and any robot, can do it.',
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
    }),
    passwords: section('How passwords are stored: argon2id.', {
      memory_kib: whole(19_456, 8, 4_194_304, 'Memory that checking one takes.'),
      iterations: whole(2, 1, 100, 'Rounds over that memory.'),
    }),
    rooms: section('Rooms made here.', {
      default_version: oneOf(
        [...roomVersions.keys()],
        'Their version, unless a client asks for another.',
        {
          default: defaultRoomVersion.id,
        },
      ),
    }),
    rate_limits: section(
      'How often a user, or an address where nobody is logged in, may call: per second in the long run, and how often at once.',
      { enabled: flag(true, 'False: no limits.'), ...budgetsByClass },
    ),
    appservices: section('Application services.', {
      files: texts('Their registration files (YAML).', {
        examples: [['/etc/laneway/bridge.yaml']],
      }),
    }),
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
