import { $, type Subprocess } from 'bun'
import { mkdir, rm } from 'node:fs/promises'
import type { Certificates } from '#test/certificates.ts'
import { synapseVenv, version } from '#test/interop/venv.ts'
import { type Login, registerBySecret } from '#test/laneway.ts'
import { until } from '#test/until.ts'

const secret = 'bench'

export type SynapseOptions = {
  /** Another than the one that we are compared with. */
  release?: string
  /** Further configuration. */
  config?: object
}

/**
 * A real Synapse on loopback with a PostgreSQL database, in one process, with its own settings but for its
 * limits of rates, which are lifted: what we compare ourselves with. Its name is `localhost:PORT`.
 */
export class Synapse {
  readonly version: string
  readonly serverName: string
  readonly clientUrl: string
  readonly federationUrl: string
  readonly #directory: string
  readonly #python: string
  #process: Subprocess | undefined

  private constructor(
    directory: string,
    { python, release }: { python: string; release: string },
    ports: { tls: number; client: number },
  ) {
    this.version = `Synapse ${release}`
    this.#directory = directory
    this.#python = python
    this.serverName = `localhost:${ports.tls}`
    this.clientUrl = `http://127.0.0.1:${ports.client}`
    this.federationUrl = `https://localhost:${ports.tls}`
  }

  /** Writes its configuration into `directory`; the first time it is installed from PyPI. */
  static async prepare(
    directory: string,
    options: {
      ports: { tls: number; client: number }
      certificates: Certificates
      databaseUrl: string
    },
    { release = version, config: more = {} }: SynapseOptions = {},
  ): Promise<Synapse> {
    const venv = await synapseVenv(release)
    const python = `${venv}/bin/python`
    const driver = await $`${python} -c ${'import psycopg2'}`.quiet().nothrow()
    if (driver.exitCode !== 0) await $`${venv}/bin/pip install --quiet psycopg2-binary`.quiet()
    await mkdir(directory, { recursive: true })
    const config = JSON.stringify({ ...configuration(directory, options), ...more }, null, 2)
    await Bun.write(`${directory}/homeserver.yaml`, config)
    await Bun.write(`${directory}/log.yaml`, JSON.stringify(logging(directory)))
    await $`${python} -m synapse.app.homeserver -c ${directory}/homeserver.yaml --generate-keys`.quiet()
    return new Synapse(directory, { python, release }, options.ports)
  }

  get pid(): number | undefined {
    return this.#process?.pid
  }

  async start(): Promise<void> {
    const child = Bun.spawn(
      [this.#python, '-m', 'synapse.app.homeserver', '-c', `${this.#directory}/homeserver.yaml`],
      {
        cwd: this.#directory,
        stdout: Bun.file(`${this.#directory}/stdout.log`),
        stderr: Bun.file(`${this.#directory}/stderr.log`),
      },
    )
    this.#process = child
    await until(async () => {
      if (child.exitCode !== null)
        throw new Error(`Synapse ended: ${await Bun.file(`${this.#directory}/stderr.log`).text()}`)
      await Bun.sleep(50)
      const answer = await fetch(`${this.clientUrl}/_matrix/client/versions`).catch(() => undefined)
      return answer?.ok === true
    })
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.#process?.kill(signal)
    await this.#process?.exited
    this.#process = undefined
    await rm(`${this.#directory}/synapse.pid`, { force: true })
  }

  register(name: string, admin = false): Promise<Login> {
    return registerBySecret(this.clientUrl, secret, name, admin)
  }
}

const configuration = (
  directory: string,
  {
    ports,
    certificates,
    databaseUrl,
  }: {
    ports: { tls: number; client: number }
    certificates: Certificates
    databaseUrl: string
  },
) => {
  const plenty = { per_second: 100_000, burst_count: 100_000 }
  const database = new URL(databaseUrl)
  const listener = { type: 'http', bind_addresses: ['127.0.0.1'] }
  return {
    server_name: `localhost:${ports.tls}`,
    pid_file: `${directory}/synapse.pid`,
    listeners: [
      { ...listener, port: ports.tls, tls: true, resources: [{ names: ['federation'] }] },
      { ...listener, port: ports.client, tls: false, resources: [{ names: ['client'] }] },
    ],
    tls_certificate_path: certificates.certificate,
    tls_private_key_path: certificates.key,
    federation_custom_ca_list: [certificates.ca],
    database: {
      name: 'psycopg2',
      args: {
        user: decodeURIComponent(database.username),
        ...(database.password && { password: decodeURIComponent(database.password) }),
        dbname: database.pathname.slice(1),
        host: database.searchParams.get('host') ?? database.hostname,
        ...(database.port && { port: Number(database.port) }),
        cp_min: 5,
        cp_max: 10,
      },
    },
    log_config: `${directory}/log.yaml`,
    media_store_path: `${directory}/media`,
    signing_key_path: `${directory}/signing.key`,
    registration_shared_secret: secret,
    // The lowest there is, as ours has it in benches.
    bcrypt_rounds: 4,
    report_stats: false,
    filter_timeline_limit: 1000,
    trusted_key_servers: [],
    ip_range_blacklist: [],
    federation_ip_range_blacklist: [],
    rc_message: plenty,
    rc_registration: plenty,
    rc_login: { address: plenty, account: plenty, failed_attempts: plenty },
    rc_joins: { local: plenty, remote: plenty },
    rc_joins_per_room: plenty,
    rc_room_creation: plenty,
    rc_invites: { per_room: plenty, per_user: plenty, per_issuer: plenty },
    rc_federation: {
      window_size: 1000,
      sleep_limit: 100_000,
      reject_limit: 100_000,
      concurrent: 100,
    },
  }
}

const logging = (directory: string) => ({
  version: 1,
  handlers: { file: { class: 'logging.FileHandler', filename: `${directory}/homeserver.log` } },
  root: { level: 'WARNING', handlers: ['file'] },
  disable_existing_loggers: false,
})
