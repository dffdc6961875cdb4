import { $, type Subprocess } from 'bun'
import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { until } from '../until.ts'

/** The release of the bridge library that is tried. */
const version = '0.21.1'

/** The virtual environment with mautrix; made from PyPI when it is not there yet. */
export async function mautrixVenv(): Promise<string> {
  const cache = process.env['XDG_CACHE_HOME'] ?? `${homedir()}/.cache`
  const venv = process.env['LANEWAY_MAUTRIX_VENV'] ?? `${cache}/laneway/mautrix-${version}`
  if (existsSync(`${venv}/lib/laneway-complete`)) return venv
  await $`python3 -m venv ${venv}`.quiet()
  await $`${venv}/bin/pip install --quiet mautrix==${version}`.quiet()
  await Bun.write(`${venv}/lib/laneway-complete`, '')
  return venv
}

export type Heard = {
  event?: Record<string, any>
  to_device?: Record<string, any>
  counts?: Record<string, Record<string, Record<string, number>>>
  lists?: { changed: string[]; left: string[] }
}

type Command = { what: string; who?: string; room?: string; [key: string]: unknown }

/** A bridge in a process of its own, as bridge.py has it. */
export class MautrixBridge {
  readonly heard: Heard[] = []
  readonly url: string
  readonly #process: Subprocess<'pipe', 'pipe', Bun.BunFile>
  readonly #answers = new Map<number, { value?: unknown; error?: string }>()
  #started = false
  #count = 0

  private constructor(url: string, process: Subprocess<'pipe', 'pipe', Bun.BunFile>) {
    this.url = url
    this.#process = process
    void this.#listen()
  }

  static async start(options: {
    venv: string
    port: number
    homeserver: string
    serverName: string
    log: string
  }): Promise<MautrixBridge> {
    const { venv, port, homeserver, serverName, log } = options
    const script = new URL('bridge.py', import.meta.url).pathname
    const bridge = new MautrixBridge(
      `http://127.0.0.1:${port}`,
      Bun.spawn([`${venv}/bin/python`, script, homeserver, serverName, `${port}`], {
        stdin: 'pipe',
        stdout: 'pipe',
        stderr: Bun.file(log),
      }),
    )
    await until(() => {
      if (bridge.#process.exitCode !== null) throw new Error(`The bridge ended; see ${log}`)
      return bridge.#started
    })
    return bridge
  }

  /** Has it do something, and answers what came of it. */
  async do<T = unknown>(command: Command): Promise<T> {
    const number = ++this.#count
    void this.#process.stdin.write(`${JSON.stringify({ number, ...command })}\n`)
    await this.#process.stdin.flush()
    await until(() => this.#answers.has(number))
    const { value, error } = this.#answers.get(number)!
    if (error !== undefined) throw new Error(`${command.what}: ${error}`)
    return value as T
  }

  events(type: string): Record<string, any>[] {
    return this.heard.flatMap(({ event }) => (event?.['type'] === type ? [event] : []))
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGKILL')
    await this.#process.exited
  }

  async #listen(): Promise<void> {
    let rest = ''
    for await (const chunk of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      for (const line of lines) this.#take(JSON.parse(line) as Record<string, any>)
    }
  }

  #take(line: Record<string, any>): void {
    if (line['started']) this.#started = true
    else if (typeof line['answer'] === 'number') this.#answers.set(line['answer'], line)
    else this.heard.push(line)
  }
}

/** Its registration file, with the keys that such bridges write themselves. */
export const registrationOf = (url: string, serverName: string): string => `
id: mautrix
url: ${url}
as_token: as-secret
hs_token: hs-secret
sender_localpart: mautrixbot
rate_limited: false
receive_ephemeral: true
de.sorunome.msc2409.push_ephemeral: true
push_ephemeral: true
org.matrix.msc3202: true
io.element.msc4190: true
namespaces:
  users:
    - regex: '@_mautrix_.*:${serverName.replaceAll('.', '\\.')}'
      exclusive: true
  aliases:
    - regex: '#_mautrix_.*:${serverName.replaceAll('.', '\\.')}'
      exclusive: true
`
