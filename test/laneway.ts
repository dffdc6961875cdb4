import packageJson from '../package.json' with { type: 'json' }
import { createHmac } from 'node:crypto'
import type { Subprocess } from 'bun'
import { mkdir } from 'node:fs/promises'
import type { Certificates } from '#test/certificates.ts'
import { until } from '#test/until.ts'

export { freePorts } from '#test/ports.ts'

const root = new URL('..', import.meta.url).pathname
const secret = 'interop'

export type LanewayOptions = {
  ports: { tls: number; client: number }
  certificates: Certificates
  /** `{ "peer.test": "127.0.0.1:1234" }` */
  staticDestinations?: Record<string, string>
  workers?: number
  /** By default the address of its federation port. */
  serverName?: string
  /** By default it starts a PostgreSQL of its own. */
  databaseUrl?: string
  /** Until another server is asked again, at least and at most. */
  retrySeconds?: readonly [min: number, max: number]
  requestTimeoutSeconds?: number
  /** Whether whoever has a token may register; nobody may otherwise. */
  registrationByToken?: boolean
  /** Registration files of application services. */
  appservices?: readonly string[]
  /** Whether application services may put history into rooms. */
  history?: boolean
}

/** Laneway as an operator runs it: a process of its own with one configuration file. */
export class Laneway {
  readonly serverName: string
  readonly clientUrl: string
  readonly federationUrl: string
  readonly directory: string
  #process: Subprocess | undefined

  private constructor(directory: string, { ports, serverName }: LanewayOptions) {
    this.directory = directory
    this.serverName = serverName ?? `127.0.0.1:${ports.tls}`
    this.clientUrl = `http://127.0.0.1:${ports.client}`
    this.federationUrl = `https://127.0.0.1:${ports.tls}`
  }

  /** Writes its configuration into `directory`. */
  static async prepare(directory: string, options: LanewayOptions): Promise<Laneway> {
    await mkdir(directory, { recursive: true })
    await Bun.write(`${directory}/laneway.toml`, configuration(directory, options))
    return new Laneway(directory, options)
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  async start(): Promise<void> {
    const started = Bun.spawn(
      [process.execPath, 'src/main.ts', '--config', `${this.directory}/laneway.toml`],
      {
        cwd: root,
        env: ownEnvironment(),
        stdout: Bun.file(`${this.directory}/stdout.log`),
        stderr: Bun.file(`${this.directory}/stderr.log`),
      },
    )
    this.#process = started
    await until(async () => {
      if (started.exitCode !== null)
        throw new Error(`Laneway ended at start: ${await this.errors()}`)
      const answer = await fetch(`${this.clientUrl}/_matrix/client/versions`).catch(() => undefined)
      return answer?.ok === true
    })
  }

  /** What it printed on stderr since its last start. */
  errors(): Promise<string> {
    return Bun.file(`${this.directory}/stderr.log`).text()
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.#process?.kill(signal)
    await this.#process?.exited
    this.#process = undefined
  }

  /** Makes an account by the shared secret and logs it in. */
  register(name: string, admin = false): Promise<Login> {
    return registerBySecret(this.clientUrl, secret, name, admin)
  }
}

/** Makes an account at a server that has this shared secret, and logs it in. */
export async function registerBySecret(
  clientUrl: string,
  sharedSecret: string,
  name: string,
  admin = false,
): Promise<Login> {
  const url = `${clientUrl}/_synapse/admin/v1/register`
  const { nonce } = (await (await fetch(url)).json()) as { nonce: string }
  const password = `${name}-password`
  const mac = createHmac('sha1', sharedSecret)
    .update([nonce, name, password, admin ? 'admin' : 'notadmin'].join('\0'))
    .digest('hex')
  const answer = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ nonce, username: name, password, admin, mac }),
  })
  const body = (await answer.json()) as { user_id: string; access_token: string }
  if (!answer.ok) throw new Error(`registering ${name}: ${JSON.stringify(body)}`)
  return new Login(clientUrl, body.user_id, body.access_token)
}

/**
 * Ours without what is meant for the test run, since the server takes options from the environment, and with
 * what `bun run server` tells the runtime.
 */
export const ownEnvironment = () => ({
  ...Object.fromEntries(
    Object.entries(process.env).filter(
      ([name]) => !name.startsWith('LANEWAY_') && name !== 'DATABASE_URL',
    ),
  ),
  ...Object.fromEntries(
    packageJson.scripts.server.matchAll(/(\w+)=(\S+)/g).map(([, ...pair]) => pair),
  ),
})

/** One access token, for requests that a test makes itself. */
export class Login {
  readonly userId: string
  readonly #base: string
  readonly token: string

  constructor(base: string, userId: string, token: string) {
    this.#base = base
    this.userId = userId
    this.token = token
  }

  get<T>(path: string): Promise<T> {
    return this.ask<T>('GET', path)
  }

  async ask<T>(method: 'GET' | 'PUT' | 'POST', path: string, body?: object): Promise<T> {
    const response = await this.request(method, path, body)
    const text = await response.text()
    if (!response.ok) throw new Error(`${response.status} from ${method} ${path}: ${text}`)
    return JSON.parse(text) as T
  }

  /** The answer, whatever it is. */
  request(method: string, path: string, body?: object): Promise<Response> {
    return fetch(this.#base + path, {
      method,
      headers: { authorization: `Bearer ${this.token}`, 'content-type': 'application/json' },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(60_000),
    })
  }

  /** The whole history of a room in reading order, oldest first. */
  async history(roomId: string): Promise<HistoryEvent[]> {
    const pages: HistoryEvent[][] = []
    let from = ''
    for (let page = 0; page < 10_000; page++) {
      const answer = await this.get<{ chunk: HistoryEvent[]; end?: string }>(
        `/_matrix/client/v3/rooms/${encodeURIComponent(roomId)}/messages?dir=b&limit=500${from}`,
      )
      pages.push(answer.chunk)
      if (answer.end === undefined) return pages.flat().reverse()
      from = `&from=${encodeURIComponent(answer.end)}`
    }
    throw new Error('The history has no end')
  }
}

export type HistoryEvent = {
  event_id: string
  type: string
  sender: string
  origin_server_ts: number
  content: Record<string, unknown>
}

const configuration = (
  directory: string,
  {
    ports,
    certificates,
    staticDestinations = {},
    workers = 0,
    serverName = `127.0.0.1:${ports.tls}`,
    databaseUrl,
    retrySeconds: [retryMin, retryMax] = [0.5, 5],
    requestTimeoutSeconds = 30,
    registrationByToken = false,
    appservices = [],
    history = false,
  }: LanewayOptions,
) => `
server_name = "${serverName}"
data_dir = "${directory}/data"
${databaseUrl === undefined ? '' : `\n[database]\nurl = "${databaseUrl}"\n`}
[[listeners]]
address = "127.0.0.1"
port = ${ports.client}
serves = ["client", "admin"]

[[listeners]]
address = "127.0.0.1"
port = ${ports.tls}
serves = ["federation"]
tls = { certificate = "${certificates.certificate}", key = "${certificates.key}" }

[workers]
rooms = ${workers}

[federation]
extra_ca = ["${certificates.ca}"]
blocked_ip_ranges = []
request_timeout_seconds = ${requestTimeoutSeconds}
retry_min_seconds = ${retryMin}
retry_max_seconds = ${retryMax}
static_destinations = { ${Object.entries(staticDestinations)
  .map(([name, address]) => `"${name}" = "${address}"`)
  .join(', ')} }

[registration]
shared_secret = "${secret}"
enabled = ${registrationByToken}
tokens = ${registrationByToken}

[passwords]
memory_kib = 64
iterations = 1

[rate_limits]
enabled = false

[appservices]
files = ${JSON.stringify(appservices)}

[rooms]
msc2716 = ${history}
`
