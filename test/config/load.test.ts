import { afterAll, expect, test } from 'bun:test'
import { rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { budgetsOf } from '#src/config.ts'
import { ConfigError, loadConfig } from '#src/config/load.ts'
import { newFolder } from '#test/folder.ts'

const folder = await newFolder('config')
afterAll(() => rm(folder, { recursive: true }))

let count = 0
async function write(text: string, name = `${++count}.toml`): Promise<string> {
  const file = join(folder, name)
  await writeFile(file, text)
  return file
}

const load = async (text: string, env: Record<string, string> = {}) =>
  loadConfig({ file: await write(text), env })

/** The lines of the message that a broken configuration gives, without its first. */
async function faultsOf(text: string, env: Record<string, string> = {}): Promise<string[]> {
  const error = await load(text, env).then(
    () => undefined,
    (thrown: unknown) => thrown,
  )
  if (!(error instanceof ConfigError)) throw new Error('it was accepted', { cause: error })
  return error.message.split('\n  ').slice(1)
}

test('without a file everything has its default, and registration is closed', async () => {
  const config = await loadConfig({ env: { LANEWAY_CONFIG: await write('') } })
  expect(config).toMatchObject({
    server_name: 'localhost',
    data_dir: './data',
    listeners: [{ address: '127.0.0.1', port: 8008, serves: ['client', 'federation', 'admin'] }],
    registration: { enabled: false, dummy: false },
    federation: { enabled: true, static_destinations: {} },
    rooms: { default_version: '12' },
    log: { level: 'info', format: 'auto' },
  })
  expect(config.database.url).toBeUndefined()
  expect(config.listeners[0]!.tls).toBeUndefined()
  expect(config.federation.blocked_ip_ranges).toContain('127.0.0.0/8')
})

test('what the file says stands, and the rest of its tables keeps defaults', async () => {
  const config = await load(`
    server_name = "hs1"
    [[listeners]]
    port = 8448
    serves = ["federation"]
    [federation]
    blocked_ip_ranges = []
    static_destinations = { "hs2" = "127.0.0.3:8448" }
    [rate_limits.login]
    burst = 3`)
  expect(config.server_name).toBe('hs1')
  expect(config.listeners).toEqual([
    {
      address: '127.0.0.1',
      port: 8448,
      serves: ['federation'],
      trusted_proxies: ['127.0.0.1', '::1'],
    },
  ])
  expect(config.federation).toMatchObject({
    enabled: true,
    blocked_ip_ranges: [],
    static_destinations: { hs2: '127.0.0.3:8448' },
  })
  expect(budgetsOf(config)).toMatchObject({ login: { perSecond: 0.2, burst: 3 } })
})

test('what one configuration says is not the default of the next', async () => {
  await load(
    '[federation]\nstatic_destinations = { hs2 = "h:1" }\nextra_ca = []\n[log]\nlevel = "warn"',
  )
  const config = await load('')
  expect(config.federation.static_destinations).toEqual({})
  expect(config.log.level).toBe('info')
})

test('without limits there are no budgets', async () => {
  expect(budgetsOf(await load('[rate_limits]\nenabled = false'))).toBeUndefined()
})

test('the environment goes over the file', async () => {
  const config = await load('server_name = "file"\n[registration]\nenabled = false', {
    LANEWAY_SERVER_NAME: 'environment',
    LANEWAY_REGISTRATION_ENABLED: 'true',
    LANEWAY_WORKERS__ROOMS: '3',
    LANEWAY_LOG_LEVEL: 'debug',
    LANEWAY_ROOMS_DEFAULT_VERSION: '11',
    LANEWAY_RATE_LIMITS_JOIN_BURST: '2',
    LANEWAY_FEDERATION_BLOCKED_IP_RANGES: '10.0.0.0/8, ::1',
    LANEWAY_FEDERATION_ALLOWED_IP_RANGES: '[]',
    LANEWAY_LISTENERS: '[{ address = "::", port = 80 }]',
    DATABASE_URL: 'postgres://u@h/d',
    LANEWAY_SPEC: '/somewhere',
    LANEWAY_PORT_8008_TCP: 'tcp://10.0.0.1:8008',
  })
  expect(config).toMatchObject({
    server_name: 'environment',
    registration: { enabled: true },
    workers: { rooms: 3 },
    log: { level: 'debug' },
    rooms: { default_version: '11' },
    rate_limits: { join: { per_second: 0.5, burst: 2 } },
    federation: { blocked_ip_ranges: ['10.0.0.0/8', '::1'], allowed_ip_ranges: [] },
    listeners: [{ address: '::', port: 80, serves: ['client', 'federation', 'admin'] }],
    database: { url: 'postgres://u@h/d' },
  })
})

test('LANEWAY_DATABASE_URL goes over DATABASE_URL, and an empty one counts as none', async () => {
  const both = { LANEWAY_DATABASE_URL: 'postgres://a@h/d', DATABASE_URL: 'postgres://b@h/d' }
  expect((await load('', both)).database.url).toBe('postgres://a@h/d')
  expect((await load('', { DATABASE_URL: '' })).database.url).toBeUndefined()
})

test('a secret can be in a file of its own', async () => {
  const file = await write('s3cret\n', 'secret')
  const config = await load(`[registration]\nshared_secret_file = ${JSON.stringify(file)}`)
  expect(config.registration).toMatchObject({ enabled: false, shared_secret: 's3cret' })
  const other = await load(`[registration]\nshared_secret = "old"`, {
    LANEWAY_REGISTRATION_SHARED_SECRET_FILE: file,
  })
  expect(other.registration.shared_secret).toBe('s3cret')
})

test('a secret that is given twice, missing or empty is a fault', async () => {
  const empty = await write('\n', 'empty')
  expect(
    await faultsOf(`[registration]\nshared_secret = "a"\nshared_secret_file = "${empty}"`),
  ).toEqual([
    'registration.shared_secret_file: given besides registration.shared_secret; choose one',
  ])
  expect(await faultsOf(`[registration]\nshared_secret_file = "${folder}/none"`)).toEqual([
    `registration.shared_secret_file: the file ${folder}/none cannot be read`,
  ])
  expect(await faultsOf(`[registration]\nshared_secret_file = "${empty}"`)).toEqual([
    'registration.shared_secret: must be a text that is not empty, not ""',
  ])
  expect(await faultsOf('[database]\nurl_file = 7')).toEqual([
    'database.url_file: must be a text, not 7',
  ])
})

test('every fault is reported at once, and a misspelt option gets a suggestion', async () => {
  const faults = await faultsOf(
    `
    sever_name = "hs1"
    [federation]
    enabeld = true
    extra_ca = "x.pem"
    [[listeners]]
    port = 80080
    serves = ["clients"]
    [log]
    level = "loud"
    [nonsense]
    key = 1
    [registration]
    shared_secret_fil = "x"`,
    { LANEWAY_LOG_LEVLE: 'info', LANEWAY_WORKERS_ROOMS: 'many' },
  )
  expect(faults.sort()).toEqual(
    [
      'LANEWAY_LOG_LEVLE: no such option; did you mean LANEWAY_LOG_LEVEL?',
      'LANEWAY_WORKERS_ROOMS: not a TOML value: many',
      'federation.enabeld: no such option; did you mean enabled?',
      'federation.extra_ca: must be a list, not "x.pem"',
      'listeners.0.port: must be a whole number from 0 to 65535, not 80080',
      'listeners.0.serves.0: must be one of client, federation, admin, metrics, not "clients"',
      'log.level: must be one of trace, debug, info, warn, error, silent, not "loud"',
      'nonsense: no such option',
      'registration.shared_secret_fil: no such option; did you mean shared_secret_file?',
      'sever_name: no such option; did you mean server_name?',
    ].sort(),
  )
})

test.each([
  [
    'server_name = "not a name"',
    'server_name: not a name is not a server name (host or host:port)',
  ],
  [
    'public_base_url = "matrix.org"',
    'public_base_url: matrix.org is not an http:// or https:// address',
  ],
  ['[database]\nurl = "mysql://h"', 'database.url: not a postgres:// address'],
  [
    '[federation]\ndelegate_to = "https://h"',
    'federation.delegate_to: https://h is not host or host:port',
  ],
  [
    '[federation]\nblocked_ip_ranges = ["10.0.0.0/33"]',
    'federation.blocked_ip_ranges: 10.0.0.0/33 is not an IP address or range',
  ],
  [
    '[[listeners]]\ntrusted_proxies = ["proxy"]',
    'listeners.0.trusted_proxies: proxy is not an IP address or range',
  ],
  ['[[listeners]]\naddress = "host"', 'listeners.0.address: host is not an IP address'],
  ['[[listeners]]\n[[listeners]]', 'listeners.1: a second one on 127.0.0.1:8008'],
  [
    '[[listeners]]\nserves = ["client", "metrics"]',
    'listeners.0.serves: metrics needs metrics.token, unless the address is a loopback one and nothing else is served there',
  ],
  [
    '[[listeners]]\naddress = "0.0.0.0"\nserves = ["metrics"]',
    'listeners.0.serves: metrics needs metrics.token, unless the address is a loopback one and nothing else is served there',
  ],
  ['listeners = []', 'listeners: must be a list that is not empty, not []'],
  [
    '[[listeners]]\nserves = ["client", "client"]',
    'listeners.0.serves: must be a list that is not empty, each item once, not ["client","client"]',
  ],
  ['[[listeners]]\ntls = { certificate = "/none.crt" }', 'listeners.0.tls.key: is missing'],
  [
    '[federation]\nextra_ca = ["/none.pem"]',
    'federation.extra_ca: the file /none.pem cannot be read',
  ],
  [
    '[federation]\nnotaries = ["matrix.org", "a b"]',
    'federation.notaries: a b is not a server name',
  ],
  [
    '[appservices]\nfiles = ["/none.yaml"]',
    'appservices.files: the file /none.yaml cannot be read',
  ],
  [
    '[registration]\ndummy = true',
    'registration.dummy: has no meaning unless registration.enabled is true',
  ],
  [
    '[registration]\nenabled = true\nemail = true',
    'registration.email: needs an SMTP server, email.host',
  ],
  [
    'public_base_url = "https://h"\n[email]\nhost = "smtp.h"',
    'email.from: is missing, since email.host is given',
  ],
  [
    '[email]\nhost = "smtp.h"\nfrom = "a@h"',
    'email.host: needs public_base_url, which the links in e-mails lead to',
  ],
  [
    '[[registration.policies]]\nid = "a"\nversion = "1"\nlanguage = "en"\nname = "A"\nurl = "a"',
    'registration.policies.0.url: a is not an http:// or https:// address',
  ],
  [
    '[federation]\nretry_min_seconds = 60\nretry_max_seconds = 1',
    'federation.retry_min_seconds: is more than retry_max_seconds',
  ],
  ['log = 3', 'log: must be a table, not 3'],
  ['[media]\nopen_before = "2024-13-40"', 'media.open_before: 2024-13-40 is no date'],
  [
    '[url_previews]\nallowed_ip_ranges = ["10.0.0.0/33"]',
    'url_previews.allowed_ip_ranges: 10.0.0.0/33 is not an IP address or range',
  ],
])('%s is refused', async (text, fault) => {
  expect(await faultsOf(text)).toEqual([fault])
})

test('a file that is not there, or not TOML, is one clear message', async () => {
  const missing = loadConfig({ file: join(folder, 'none.toml'), env: {} })
  await expect(missing).rejects.toThrow(`The configuration ${folder}/none.toml cannot be read`)
  const file = await write('server_name = "a"\nlisteners =')
  await expect(loadConfig({ file, env: {} })).rejects.toThrow(
    `The configuration ${file} is not TOML`,
  )
})

test('where to log is known even from a broken configuration', async () => {
  const error: unknown = await load('nonsense = 1\n[log]\nfile = "/tmp/x.log"\nlevel = 9').catch(
    (thrown: unknown) => thrown,
  )
  expect(error).toMatchObject({ log: { file: '/tmp/x.log', level: 'info', format: 'auto' } })
})
