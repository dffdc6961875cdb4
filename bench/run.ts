import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { benches } from './benches.ts'
import { type Result, isWrong } from './figures.ts'
import { type Outcome, writeReport } from './report/html.ts'
import { describeMachine } from './report/machine.ts'

const help = `
bun run bench                   lists the benches
bun run bench NAME [options]    runs one; --help tells its options, --json prints figures as JSON
bun run bench all [options]     runs all, one after the other, and writes a report

  --short            with less of everything: to see that all run, and that their counts are right
  --against synapse  beside a Synapse with the same traffic, where a bench can
  --only NAME,NAME   only these
  --out FILE         where the report goes (default bench-report.html)
  --json             prints the machine and all figures as JSON, too

Run them on a quiet machine. What is told to be wrong, and fails, is only ever a count: no time is.
`

/** A bench that takes longer is ended, and has failed. */
const patienceMs = { short: 5 * 60_000, whole: 3 * 3_600_000 }

const [name, ...rest] = Bun.argv.slice(2)
if (name === undefined) list()
else if (name === '--help' || name === '-h') console.log(help.trim())
else if (name === 'all') process.exitCode = await runAll(rest)
else if (name in benches) process.exitCode = await spawn(name, rest, 'inherit').exited
else {
  console.error(`There is no bench ${name}.`)
  list()
  process.exitCode = 1
}

function list(): void {
  const width = Math.max(...Object.keys(benches).map((each) => each.length)) + 2
  for (const [each, { what }] of Object.entries(benches)) console.log(each.padEnd(width) + what)
  console.log('\nbun run bench NAME --help, or bun run bench all --help')
}

function spawn(bench: string, args: readonly string[], stdout: 'inherit' | 'pipe') {
  const child = Bun.spawn([process.execPath, join(import.meta.dir, `${bench}.ts`), ...args], {
    stdout,
    stderr: 'inherit',
    // A group of its own, which ends with the servers that it has started.
    detached: true,
    // Many clients are many requests that wait.
    env: { ...process.env, BUN_CONFIG_MAX_HTTP_REQUESTS: '4000' },
  })
  const end = () => endGroup(child)
  process.once('SIGINT', end).once('SIGTERM', end)
  void child.exited.then(() => process.off('SIGINT', end).off('SIGTERM', end))
  return child
}

function endGroup({ pid }: Bun.Subprocess): void {
  try {
    process.kill(-pid, 'SIGTERM')
  } catch (error) {
    // It has ended meanwhile.
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error
  }
}

async function runAll(args: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      help: { type: 'boolean', short: 'h' },
      short: { type: 'boolean', default: false },
      json: { type: 'boolean', default: false },
      against: { type: 'string' },
      only: { type: 'string' },
      out: { type: 'string', default: 'bench-report.html' },
    },
  })
  if (values.help) {
    console.log(help.trim())
    return 0
  }
  if (values.against !== undefined && values.against !== 'synapse')
    throw new Error('--against wants synapse')
  const only = values.only?.split(',')
  const odd = only?.find((each) => !(each in benches))
  if (odd !== undefined) throw new Error(`There is no bench ${odd}`)
  const began = new Date()
  const machine = await describeMachine(values.against !== undefined)
  const outcomes: Outcome[] = []
  for (const [each, { against, brief = [], long }] of Object.entries(benches)) {
    if (only ? !only.includes(each) : values.short && long) continue
    const options = values.short ? ['--short', ...brief] : []
    if (against && values.against !== undefined) options.push('--against', values.against)
    outcomes.push(await runOne(each, options, values.short, values.json))
  }
  await Bun.write(values.out, writeReport({ began, short: values.short, machine, outcomes }))
  if (values.json)
    console.log(JSON.stringify({ machine, results: outcomes.map(({ result }) => result) }))
  const failed = outcomes.filter(({ failure }) => failure !== undefined)
  for (const { name: bench, failure } of failed) console.error(`${bench}: ${failure}`)
  const told = values.json ? console.error : console.log
  told(`The report is in ${values.out}`)
  told(`${outcomes.length - failed.length} passed, ${failed.length} failed`)
  return failed.length === 0 ? 0 : 1
}

async function runOne(
  bench: string,
  options: string[],
  short: boolean,
  quiet: boolean,
): Promise<Outcome> {
  const began = performance.now()
  const child = spawn(bench, [...options, '--json'], 'pipe')
  const limit = short ? patienceMs.short : patienceMs.whole
  const timer = setTimeout(() => endGroup(child), limit)
  const output = await new Response(child.stdout as ReadableStream<Uint8Array>).text()
  const code = await child.exited
  clearTimeout(timer)
  const seconds = (performance.now() - began) / 1000
  const result = resultOf(output)
  const wrong = result?.figures.filter(isWrong) ?? []
  const failure =
    wrong.length > 0
      ? `wrong: ${wrong.map(({ group, name: what, value }) => `${group}: ${what} is ${value}`).join('; ')}`
      : code !== 0
        ? `it ended with ${child.signalCode ?? code}`
        : result === undefined
          ? 'it told no figures'
          : undefined
  if (!quiet)
    console.log(
      `${failure === undefined ? 'ok' : 'FAILED'}  ${bench}, ${result?.figures.length ?? 0} figures, ${seconds.toFixed(1)} s`,
    )
  const outcome = { name: bench, what: benches[bench]!.what, seconds }
  return { ...outcome, ...(failure !== undefined && { failure }), ...(result && { result }) }
}

/** The last line of what a bench printed. */
function resultOf(output: string): Result | undefined {
  const line = output.trimEnd().split('\n').at(-1) ?? ''
  if (!line.startsWith('{')) return undefined
  return JSON.parse(line) as Result
}
