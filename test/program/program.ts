import { readFileSync, readdirSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { newFolder } from '#test/folder.ts'
import { ownEnvironment } from '#test/laneway.ts'
import { patienceMs } from '#test/until.ts'

const root = new URL('../..', import.meta.url).pathname

/** A folder for as long as it is in scope: `await using folder = await openFolder()`. */
export async function openFolder() {
  const path = await newFolder('program')
  const remove = () => rm(path, { recursive: true, force: true, maxRetries: 5 })
  return { path, [Symbol.asyncDispose]: remove }
}

export type Ended = { code: number; out: string; errors: string }
type RunOptions = { cwd?: string; env?: Record<string, string>; input?: string }

/** Runs a command of the program to its end. */
export async function run(args: string[], options: RunOptions = {}): Promise<Ended> {
  await using folder = await openFolder()
  const child = Bun.spawn([process.execPath, join(root, 'src/main.ts'), ...args], {
    cwd: options.cwd ?? folder.path,
    env: { ...ownEnvironment(), ...options.env },
    stdin: new Blob([options.input ?? '']),
    stdout: 'pipe',
    stderr: 'pipe',
    timeout: patienceMs,
  })
  const [out, errors] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ])
  return { code: await child.exited, out, errors }
}

export type LogRecord = {
  level: string
  thread: string
  msg: string
  listening?: string[]
  err?: { message: string }
}

/** Processes that are alive and name the folder on their command line. */
export const processesOf = (directory: string): number[] =>
  readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => pid !== process.pid && isAlive(pid) && commandOf(pid).includes(directory))

const commandOf = (pid: number): string => read(`/proc/${pid}/cmdline`)

/** An orphan that ended stays in the table of processes until somebody collects it. */
function isAlive(pid: number): boolean {
  const state = /^State:\s+(\w)/m.exec(read(`/proc/${pid}/status`))?.[1]
  return state !== undefined && state !== 'Z' && state !== 'X'
}

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
): Promise<T> {
  const deadline = performance.now() + patienceMs
  for (;;) {
    const found = await look()
    if (found !== undefined && found !== false) return found
    if (performance.now() > deadline) throw new Error(`It took too long: ${what}`)
    await Bun.sleep(20)
  }
}

export type ProgramOptions = {
  /** Further sections of the configuration, and keys above them. */
  keys?: string
  sections?: string
  /** Of a PostgreSQL that runs already, which is quicker than one of its own. */
  database?: string
  /** Run before it, in its main thread. */
  preload?: string
}

type Folder = Awaited<ReturnType<typeof openFolder>>

/**
 * The server as an operator runs it: a process of its own with a configuration and a log file. It is
 * killed at the end of its scope.
 */
export class Program {
  readonly #folder: Folder
  readonly directory: string
  readonly config: string
  readonly #command: string[]
  #child: Bun.Subprocess<'ignore', 'ignore', 'pipe'> | undefined
  /** Where it listens, in the order of the configuration. */
  urls: string[] = []

  private constructor(folder: Folder, preload: string | undefined) {
    this.#folder = folder
    this.directory = folder.path
    this.config = join(folder.path, 'laneway.toml')
    const before = preload === undefined ? [] : ['--preload', preload]
    const main = join(root, 'src/main.ts')
    this.#command = [process.execPath, ...before, main, '--config', this.config]
  }

  /** Writes a configuration: cheap passwords, ports that are free, and what the options say. */
  static async prepare(options: ProgramOptions = {}): Promise<Program> {
    const program = new Program(await openFolder(), options.preload)
    await program.configure(options)
    return program
  }

  static async start(options: ProgramOptions = {}): Promise<Program> {
    const program = await Program.prepare(options)
    try {
      await program.start()
      return program
    } catch (error) {
      await program[Symbol.asyncDispose]()
      throw error
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child) await this.end('SIGKILL')
    await this.#folder[Symbol.asyncDispose]()
  }

  async configure({ keys = '', sections = '', database }: ProgramOptions): Promise<void> {
    const { directory } = this
    const listeners = sections.includes('[[listeners]]') ? '' : '[[listeners]]\nport = 0\n'
    await Bun.write(
      this.config,
      `data_dir = "${directory}/data"\n${keys}\n${listeners}
[log]
file = "${directory}/log"
[workers]
rooms = 1
[passwords]
memory_kib = 64
iterations = 1
${database === undefined ? '' : `[database]\nurl = "${database}"\n`}${sections}`,
    )
  }

  get pid(): number {
    return this.#child!.pid
  }

  get url(): string {
    return this.urls[0]!
  }

  /** Starts it without waiting for anything. */
  spawn() {
    this.#child = Bun.spawn(this.#command, {
      cwd: this.directory,
      env: ownEnvironment(),
      stdin: 'ignore',
      stdout: 'ignore',
      stderr: 'pipe',
    })
    return this.#child
  }

  async start(): Promise<void> {
    const before = (await this.log()).length
    const child = this.spawn()
    const listening = await until('the start', async () => {
      if (child.exitCode !== null) throw new Error(await new Response(child.stderr).text())
      const records = (await this.log()).slice(before)
      return records.find((record) => record.listening)?.listening
    })
    this.urls = listening
  }

  /** Everything in its log file. */
  async log(): Promise<LogRecord[]> {
    const file = Bun.file(join(this.directory, 'log'))
    if (!(await file.exists())) return []
    const lines = (await file.text()).split('\n').slice(0, -1)
    return lines.map((line) => JSON.parse(line) as LogRecord)
  }

  /** What a quiet run does not write. */
  async complaints(): Promise<string[]> {
    const loud = new Set(['warn', 'error', 'fatal'])
    const records = (await this.log()).filter(({ level }) => loud.has(level))
    return records.map(({ level, msg, err }) => `${level}: ${msg} ${err?.message ?? ''}`)
  }

  /** Ends it, and waits until nothing of it runs any more; answers its exit code. */
  async end(signal: 'SIGTERM' | 'SIGINT' | 'SIGKILL' = 'SIGTERM'): Promise<number> {
    const child = this.#child!
    child.kill(signal)
    const code = await child.exited
    // PostgreSQL ends by itself when its server was killed.
    if (signal === 'SIGKILL') await until('its end', () => processesOf(this.directory).length === 0)
    this.#child = undefined
    return code
  }

  fetch(path: string, options: RequestInit & { url?: string } = {}): Promise<Response> {
    const { url = this.url, ...init } = options
    return fetch(url + path, { signal: AbortSignal.timeout(patienceMs), ...init })
  }

  logIn(name: string, password: string, more: RequestInit & { url?: string } = {}) {
    const identifier = { type: 'm.id.user', user: name }
    return this.fetch('/_matrix/client/v3/login', {
      method: 'POST',
      body: JSON.stringify({ type: 'm.login.password', identifier, password }),
      ...more,
    })
  }

  /** Makes an account with `user add`, and logs it in. */
  async person(name: string): Promise<Person> {
    const password = `the password of ${name}`
    const added = await run(['user', 'add', name, '--config', this.config], { input: password })
    if (added.code !== 0) throw new Error(added.errors)
    const login = (await (await this.logIn(name, password)).json()) as { access_token: string }
    return new Person(this, login.access_token)
  }
}

/** Somebody who is logged in. */
export class Person {
  readonly #program: Program
  readonly #token: string

  constructor(program: Program, token: string) {
    this.#program = program
    this.#token = token
  }

  request(method: string, path: string, body?: object): Promise<Response> {
    return this.#program.fetch(`/_matrix/client/v3/${path}`, {
      method,
      headers: { authorization: `Bearer ${this.#token}` },
      ...(body && { body: JSON.stringify(body) }),
    })
  }

  async ask<T>(method: string, path: string, body?: object): Promise<T> {
    const response = await this.request(method, path, body)
    if (!response.ok) throw new Error(`${response.status} from ${path}: ${await response.text()}`)
    return (await response.json()) as T
  }

  async makeRoom(): Promise<string> {
    const { room_id } = await this.ask<{ room_id: string }>('POST', 'createRoom', {})
    return encodeURIComponent(room_id)
  }

  send(room: string, txnId: string): Promise<Response> {
    const content = { msgtype: 'm.text', body: txnId }
    return this.request('PUT', `rooms/${room}/send/m.room.message/${txnId}`, content)
  }

  /** The texts of the last messages of a room, oldest first. */
  async messages(room: string): Promise<string[]> {
    const { chunk } = await this.ask<{ chunk: { type: string; content: { body: string } }[] }>(
      'GET',
      `rooms/${room}/messages?dir=b&limit=100`,
    )
    const messages = chunk.filter(({ type }) => type === 'm.room.message')
    return messages.map(({ content }) => content.body).reverse()
  }
}
