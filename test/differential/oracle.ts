import { existsSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'

export const synapseVersion = '1.163.2'

/** One room as the oracle gets it, events as JSON text. */
export type Question = Readonly<{
  version: string
  roomId: string
  events: readonly (readonly [eventId: string, text: string])[]
  rejected: readonly string[]
  /** The states to resolve, as event IDs. */
  sets: readonly (readonly string[])[]
  /** Events of another room that cases may cite. */
  foreign: readonly string[]
  cases: readonly { event: string; state: readonly string[] }[]
}>

/** `allow`, or `reject: …`, or `crash: …` where Synapse fails instead of judging. */
export type OracleVerdict = string

export type CaseAnswer = Readonly<{
  unreadable?: string
  unhashed?: string
  signed: OracleVerdict
  independent: OracleVerdict
  byAuth: OracleVerdict
  byState: OracleVerdict
  eventId: string
  contentHash: string
  referenceHash: string
}>

export type Answer = Readonly<{
  ids: readonly string[]
  /** The event IDs of the resolved state, sorted, or `crash: …`. */
  resolved: readonly string[] | string
  cases: readonly CaseAnswer[]
}>

/** Gives a virtual environment that holds Synapse; makes it the first time, in a cache directory. */
export function requireSynapse(): string {
  const cache = Bun.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache')
  const venv =
    Bun.env['LANEWAY_SYNAPSE_VENV'] ?? join(cache, 'laneway', `synapse-${synapseVersion}`)
  const python = join(venv, 'bin', 'python')
  const probe = 'import synapse.util; print(synapse.util.SYNAPSE_VERSION)'
  if (existsSync(python)) {
    const found = Bun.spawnSync([python, '-c', probe])
    const version = found.stdout.toString().trim()
    if (version === synapseVersion) return python
    if (found.success) throw new Error(`${venv} holds Synapse ${version}, not ${synapseVersion}`)
  }
  console.log(`installing Synapse ${synapseVersion} into ${venv}`)
  for (const command of [
    ['python3', '-m', 'venv', venv],
    [python, '-m', 'pip', 'install', '--quiet', `matrix-synapse==${synapseVersion}`],
  ]) {
    const done = Bun.spawnSync(command, { stdout: 'inherit', stderr: 'inherit' })
    if (!done.success) throw new Error(`${command.join(' ')} failed`)
  }
  return python
}

/** A Python process that answers batches of questions, one batch at a time. */
export class Oracle {
  readonly #process: Bun.Subprocess<'pipe', 'pipe', 'inherit'>
  readonly #lines: AsyncGenerator<string>

  constructor(python: string) {
    const script = join(import.meta.dir, 'oracle.py')
    const io = { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' } as const
    this.#process = Bun.spawn([python, script], io)
    this.#lines = linesOf(this.#process.stdout)
  }

  async ask(questions: readonly Question[]): Promise<readonly Answer[]> {
    await this.#process.stdin.write(`${JSON.stringify(questions)}\n`)
    await this.#process.stdin.flush()
    const { value, done } = await this.#lines.next()
    if (done) throw new Error('the oracle has ended')
    return JSON.parse(value) as Answer[]
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#process.stdin.end()
    await this.#process.exited
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let parts: string[] = []
  for await (const bytes of stream) {
    const pieces = decoder.decode(bytes, { stream: true }).split('\n')
    while (pieces.length > 1) {
      yield [...parts, pieces.shift()!].join('')
      parts = []
    }
    parts.push(pieces[0]!)
  }
}
