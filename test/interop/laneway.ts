import type { Subprocess } from 'bun'
import { mkdir } from 'node:fs/promises'
import type { Certificates } from '../certificates.ts'

const root = new URL('../..', import.meta.url).pathname

/** Laneway as an operator runs it: a process of its own with one configuration file. */
export class Laneway {
  readonly serverName: string
  readonly clientUrl: string
  readonly #directory: string
  #process: Subprocess | undefined

  private constructor(directory: string, tlsPort: number, clientPort: number) {
    this.#directory = directory
    this.serverName = `127.0.0.1:${tlsPort}`
    this.clientUrl = `http://127.0.0.1:${clientPort}`
  }

  static async prepare(
    directory: string,
    ports: { tls: number; client: number },
    certificates: Certificates,
  ): Promise<Laneway> {
    await mkdir(directory, { recursive: true })
    await Bun.write(`${directory}/laneway.toml`, configuration(directory, ports, certificates))
    return new Laneway(directory, ports.tls, ports.client)
  }

  async start(): Promise<void> {
    this.#process = Bun.spawn(
      ['bun', 'src/main.ts', '--config', `${this.#directory}/laneway.toml`],
      {
        cwd: root,
        stdout: Bun.file(`${this.#directory}/stdout.log`),
        stderr: Bun.file(`${this.#directory}/stderr.log`),
      },
    )
    for (let tries = 0; tries < 240; tries++) {
      if (this.#process.exitCode !== null)
        throw new Error(
          `Laneway ended at start: ${await Bun.file(`${this.#directory}/stderr.log`).text()}`,
        )
      const answer = await fetch(`${this.clientUrl}/_matrix/client/versions`).catch(() => undefined)
      if (answer?.ok) return
      await Bun.sleep(100)
    }
    throw new Error('Laneway did not answer in time')
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
) => `
server_name = "127.0.0.1:${ports.tls}"
data_dir = "${directory}/data"

[[listeners]]
address = "127.0.0.1"
port = ${ports.client}
serves = ["client", "admin"]

[[listeners]]
address = "127.0.0.1"
port = ${ports.tls}
serves = ["federation"]
tls = { certificate = "${certificates.certificate}", key = "${certificates.key}" }

[federation]
extra_ca = ["${certificates.ca}"]
blocked_ip_ranges = []

[registration]
shared_secret = "interop"

[passwords]
memory_kib = 64
iterations = 1

[rate_limits]
enabled = false
`
