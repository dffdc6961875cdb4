import { $, type Subprocess } from 'bun'
import { mkdir } from 'node:fs/promises'
import type { Certificates } from '../certificates.ts'
import type { Knowledge } from '../simulation/knowledge.ts'
import type { Room } from '../simulation/world.ts'
import { until } from '../until.ts'
import { synapseKnowledge } from './synapse-knowledge.ts'

/** A real Synapse on loopback, federating over TLS under the name `localhost:PORT`. */
export class Synapse {
  readonly serverName: string
  /** Plain HTTP for clients. */
  readonly clientUrl: string
  readonly #directory: string
  readonly #python: string
  #process: Subprocess | undefined

  private constructor(directory: string, python: string, tlsPort: number, clientPort: number) {
    this.#directory = directory
    this.#python = python
    this.serverName = `localhost:${tlsPort}`
    this.clientUrl = `http://127.0.0.1:${clientPort}`
  }

  /** Writes its configuration into `directory`; `venv` holds `matrix-synapse`. */
  static async prepare(
    directory: string,
    venv: string,
    ports: { tls: number; client: number },
    certificates: Certificates,
    /** Further configuration. */
    more: object = {},
  ): Promise<Synapse> {
    await mkdir(directory, { recursive: true })
    const synapse = new Synapse(directory, `${venv}/bin/python`, ports.tls, ports.client)
    await Bun.write(
      `${directory}/homeserver.yaml`,
      JSON.stringify({ ...configuration(directory, ports, certificates), ...more }, null, 2),
    )
    await Bun.write(`${directory}/log.yaml`, JSON.stringify(logging(directory)))
    await $`${synapse.#python} -m synapse.app.homeserver -c ${directory}/homeserver.yaml --generate-keys`.quiet()
    return synapse
  }

  async start(): Promise<void> {
    this.#process = Bun.spawn(
      [this.#python, '-m', 'synapse.app.homeserver', '-c', `${this.#directory}/homeserver.yaml`],
      {
        cwd: this.#directory,
        stdout: Bun.file(`${this.#directory}/stdout.log`),
        stderr: Bun.file(`${this.#directory}/stderr.log`),
      },
    )
    const child = this.#process
    await until(async () => {
      if (child.exitCode !== null)
        throw new Error(
          `Synapse ended at start: ${await Bun.file(`${this.#directory}/stderr.log`).text()}`,
        )
      // It needs the processor more than we do.
      await Bun.sleep(50)
      const answer = await fetch(`${this.clientUrl}/_matrix/client/versions`).catch(() => undefined)
      return answer?.ok === true
    })
  }

  knowledge(room: Room): Knowledge {
    return synapseKnowledge(`${this.#directory}/homeserver.db`, room)
  }

  async stop(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    this.#process?.kill(signal)
    await this.#process?.exited
    this.#process = undefined
  }
}

const configuration = (
  directory: string,
  ports: { tls: number; client: number },
  certificates: Certificates,
) => {
  const plenty = { per_second: 10_000, burst_count: 10_000 }
  return {
    server_name: `localhost:${ports.tls}`,
    pid_file: `${directory}/synapse.pid`,
    listeners: [
      {
        port: ports.tls,
        type: 'http',
        tls: true,
        bind_addresses: ['127.0.0.1'],
        resources: [{ names: ['federation'] }],
      },
      {
        port: ports.client,
        type: 'http',
        tls: false,
        bind_addresses: ['127.0.0.1'],
        resources: [{ names: ['client'] }],
      },
    ],
    tls_certificate_path: certificates.certificate,
    tls_private_key_path: certificates.key,
    federation_custom_ca_list: [certificates.ca],
    database: { name: 'sqlite3', args: { database: `${directory}/homeserver.db` } },
    log_config: `${directory}/log.yaml`,
    media_store_path: `${directory}/media`,
    signing_key_path: `${directory}/signing.key`,
    registration_shared_secret: 'interop',
    report_stats: false,
    filter_timeline_limit: 1000,
    trusted_key_servers: [],
    ip_range_blacklist: [],
    federation_ip_range_blacklist: [],
    federation: {
      destination_min_retry_interval: '1s',
      destination_max_retry_interval: '3s',
      // Within one request; by default it waits for a minute.
      max_long_retry_delay: '1s',
    },
    room_list_publication_rules: [{ action: 'allow' }],
    rc_message: plenty,
    rc_registration: plenty,
    rc_login: { address: plenty, account: plenty, failed_attempts: plenty },
    rc_joins: { local: plenty, remote: plenty },
    rc_joins_per_room: plenty,
    rc_room_creation: plenty,
    rc_invites: { per_room: plenty, per_user: plenty, per_issuer: plenty },
    rc_federation: {
      window_size: 1000,
      sleep_limit: 10_000,
      reject_limit: 10_000,
      concurrent: 100,
    },
  }
}

const logging = (directory: string) => ({
  version: 1,
  formatters: { plain: { format: '%(asctime)s %(name)s %(levelname)s %(message)s' } },
  handlers: {
    file: {
      class: 'logging.FileHandler',
      filename: `${directory}/homeserver.log`,
      formatter: 'plain',
    },
  },
  root: { level: 'INFO', handlers: ['file'] },
  disable_existing_loggers: false,
})
