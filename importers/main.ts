import { Command, InvalidArgumentError, Option } from 'commander'
import { type Console, type Exit, exit } from '#importers/commands/console.ts'
import { inspect, type InspectOptions } from '#importers/commands/inspect.ts'
import { plan, type PlanOptions } from '#importers/commands/plan.ts'
import { run, type RunOptions } from '#importers/commands/run.ts'
import { reasonOf, report, status, undo } from '#importers/commands/sessions.ts'
import { verify, type VerifyOptions } from '#importers/commands/verify.ts'
import { printable } from '#importers/report/printable.ts'
import { Stop } from '#importers/stop.ts'

const finish = new AbortController()
const stop = new AbortController()
process.on('SIGINT', () => interrupted())
process.on('SIGTERM', () => interrupted())

function interrupted(): void {
  if (finish.signal.aborted) stop.abort(new Stop('Stopped; the same command goes on from here'))
  else {
    process.stderr.write('\nFinishing the batch that is under way; once more stops at once\n')
    finish.abort()
  }
}

const program = new Command('bun run import')
  .description('Moves the history of another chat into a Laneway.')
  .option('--json', 'events as JSON, a line each, instead of text')
  .addHelpText(
    'after',
    `
Examples:
  bun run import inspect gitter-export.zip
  bun run import plan gitter-export.zip --server http://127.0.0.1:8008
  bun run import run plan.toml --dry-run
  bun run import run plan.toml
  bun run import verify --plan plan.toml
  bun run import undo --all --plan plan.toml

The token of an administrator or an application service is read from LANEWAY_TOKEN, or from the file of
--token-file. Exit codes: 0 all went in; 3 finished, some records were skipped, as the report tells; 1 stopped.`,
  )

const tokenFile = new Option('--token-file <file>', 'a file with the access token')
const planOption = new Option('--plan <file>', 'the plan').default('plan.toml')
const format = new Option('--format <name>', 'the format of the export').default('auto')
const tz = new Option('--tz <zone>', 'the time zone of exports that do not say theirs')

program
  .command('inspect')
  .description('what is in an export: rooms, people, dates, problems; no server needed')
  .argument('<path>')
  .addOption(format)
  .addOption(tz)
  .action((path: string, options: InspectOptions) =>
    end((console) => inspect(path, options, console)),
  )

program
  .command('plan')
  .description('writes a plan: which rooms go where and how, and who is who')
  .argument('<path>')
  .requiredOption('--server <url>', 'where the server is reached')
  .option('--map <file>', 'a TOML file: [users] and [rooms] of the export, and what they are here')
  .option('--out <file>', 'the plan', 'plan.toml')
  .option('--source <name>', 'the name under which the server keeps what came from this chat')
  .option('--force', 'write over a plan that is there')
  .addOption(format)
  .addOption(tz)
  .addOption(tokenFile)
  .action((path: string, options: Omit<PlanOptions, 'token'>) =>
    end((console) => plan(path, { ...options, token: token() }, console)),
  )

program
  .command('run')
  .description('imports what a plan says; again, it goes on and brings what is new')
  .argument('[plan]', 'the plan', 'plan.toml')
  .option('--dry-run', 'everything but writing')
  .option('--rooms <glob>', 'only these rooms of the plan')
  .option('--since <date>', 'only what is not older', dateOf)
  .option('--until <date>', 'only what is older', dateOf)
  .option('--jobs <n>', 'rooms at a time', countOf, 2)
  .option('--rate <n>', 'records a second, at most', countOf)
  .option('--no-media', 'without files')
  .addOption(
    new Option('--users <mode>', 'how people appear').choices(['real', 'ghosts', 'profile']),
  )
  .addOption(
    new Option('--mode <mode>', 'instead of what the plan says').choices([
      'fresh',
      'archive',
      'insert',
      'append',
    ]),
  )
  .option('--federate', 'also into rooms with users of other servers')
  .option('--moves', 'also tell who came and left')
  .option('--private-hosts', 'fetch files from addresses in private networks too')
  .addOption(new Option('--resume', 'go on where it was left; this is what is done anyway'))
  .addOption(
    new Option('--restart', 'drop what is not published, and begin again').conflicts('resume'),
  )
  .option('--update', 'also what was edited, deleted or reacted to since an earlier export')
  .option('--max-skips <n>', 'stop when more records than this would be skipped', countOf)
  .addOption(tokenFile)
  .action((path: string, options: Omit<RunOptions, 'token'>) =>
    end((console) => run(path, { ...options, token: token() }, console)),
  )

program
  .command('status')
  .description('how far the sessions are')
  .argument('[session]')
  .addOption(planOption)
  .addOption(tokenFile)
  .action((session: string | undefined, options: { plan: string; tokenFile: string | undefined }) =>
    end((console) => status(session, { ...options, token: token() }, console)),
  )

program
  .command('verify')
  .description('compares what is in the rooms with the export')
  .argument('[session]')
  .option('--full', 'also read everything with pages of 1 and 7')
  .option('--sample <n>', 'how many places to read with pages of 1 and 7', countOf, 20)
  .option('--reader-token-file <file>', 'read with the token in this file: that of a plain user')
  .option('--from-server <url>', "read by another server, with that user's token")
  .addOption(planOption)
  .addOption(tokenFile)
  .action((session: string | undefined, options: Omit<VerifyOptions, 'token' | 'readerToken'>) =>
    end((console) =>
      verify(
        session,
        {
          ...options,
          token: token(),
          readerToken: process.env['LANEWAY_READER_TOKEN'] || undefined,
        },
        console,
      ),
    ),
  )

program
  .command('undo')
  .description('takes a session back')
  .argument('[session]')
  .option('--all', 'all sessions of the plan')
  .addOption(planOption)
  .addOption(tokenFile)
  .action(
    (
      session: string | undefined,
      options: { plan: string; tokenFile: string | undefined; all?: boolean },
    ) => end((console) => undo(session, { ...options, token: token() }, console)),
  )

program
  .command('report')
  .description('what was skipped, split or lacks something, and why')
  .addOption(planOption)
  .action((options: { plan: string }) => end((console) => report(options.plan, console)))

const examples: { [command: string]: string[] } = {
  inspect: [
    'inspect export.zip                     what is in it, in a few lines',
    'inspect ~/exports/slack --format slack  where it is not recognized',
    '--json inspect export.zip > rooms.json  for programs',
  ],
  plan: [
    'plan export.zip --server http://127.0.0.1:8008',
    'plan export.zip --server http://127.0.0.1:8008 --map map.toml --out slack.toml',
    '',
    'map.toml:',
    '  [users]',
    '  alice = "@alice:example.org"        # by ID, user name, address or name',
    '  "spam@example.org" = "skip"',
    '  [rooms]',
    '  general = "#general:example.org"    # by ID or name; "create", "skip"',
  ],
  run: [
    'run plan.toml --dry-run                 everything but writing, and about how much it is',
    'run plan.toml                           again, it goes on, and brings what is new',
    'run plan.toml --rooms "team-*" --since 2020-01-01',
    'run plan.toml --update                  also edits and reactions since the last export',
    'run plan.toml --rate 500                on a server that is busy',
  ],
  status: ['status', 'status --plan slack.toml'],
  verify: [
    'verify                                  as the importer reads it',
    'verify --reader-token-file bob.token    as a plain user in the rooms reads it',
    'verify --full',
    'verify --from-server https://other.example --reader-token-file eve.token',
  ],
  undo: [
    'undo SESSION                            `status` lists them',
    'undo --all --plan slack.toml',
  ],
  report: ['report', '--json report | grep media_gone'],
}
for (const command of program.commands) {
  command.showHelpAfterError('(`--help` has examples)')
  const lines = (examples[command.name()] ?? []).map((line) =>
    /^(\s|map\.toml|$)/.test(line) ? `  ${line}` : `  bun run import ${line}`,
  )
  command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
}

function token(): string | undefined {
  return process.env['LANEWAY_TOKEN'] || undefined
}

/** Runs a command, and ends with its exit code. */
async function end(command: (console: Console) => Promise<Exit>): Promise<void> {
  const { json = false } = program.opts<{ json?: boolean }>()
  // JSON has escapes of its own.
  const shown = (line: string) => `${json ? line : printable(line)}\n`
  const console: Console = {
    write: (line) => void process.stdout.write(shown(line)),
    warn: (line) => void process.stderr.write(shown(line)),
    isTerminal: process.stderr.isTTY,
    json,
    finish: finish.signal,
    stop: stop.signal,
  }
  try {
    process.exitCode = await command(console)
  } catch (error) {
    const why = stop.signal.aborted
      ? 'Stopped; the same command goes on from here'
      : reasonOf(error)
    if (console.json) console.write(JSON.stringify({ event: 'stopped', reason: why }))
    else console.warn(why)
    if (!(error instanceof Stop) && !stop.signal.aborted && process.env['LANEWAY_TRACE'])
      console.warn(String(error instanceof Error ? error.stack : error))
    process.exitCode = exit.stopped
  }
}

function countOf(text: string): number {
  const value = Number(text)
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('It is to be a number from 1 on.')
  return value
}

function dateOf(text: string): number {
  const time = Date.parse(text)
  if (Number.isNaN(time)) throw new InvalidArgumentError('It is to be a date, as 2020-12-31.')
  return time
}

await program.parseAsync()
